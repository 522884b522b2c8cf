"""The part of the doctor that knows engines: logs explained, deployments and commands judged.

Pure: values in, findings out. Reads no file, opens no socket, starts nothing.
"""
