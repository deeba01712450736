"""Executors: who carries an action out. One file each, registered by name; a new one is a new file."""
