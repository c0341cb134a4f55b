"""The sub-commands of `ur4rec`, one file each."""
