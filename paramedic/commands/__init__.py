"""The commands of the console script, one file each; a command registers itself on the app it is given."""
