"""The survey's claims as commands: `modelgraft judge reproduce E1 ...`."""
