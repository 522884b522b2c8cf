"""Named recipes: commands that belong to no deployment, such as install, docker build, submit and link bench.

Pure: parameters in, commands and findings out. Reads no file, opens no socket, starts nothing. `catalog` has the
table, `cli_recipes` is the command around it.
"""
