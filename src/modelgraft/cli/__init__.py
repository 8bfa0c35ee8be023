"""The command line: cards become commands; everything a command does is done below this layer."""
