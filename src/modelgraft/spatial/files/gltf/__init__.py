"""glTF 2.0 as text with its files beside it (.gltf) and in one file (.glb), read and written."""
