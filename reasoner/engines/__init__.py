"""What draws sequences: vLLM in this process, a server, a script, a simulation, a recording."""
