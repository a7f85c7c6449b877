"""The shell around the pure core: Kafka, Faust agents, the verifier, telemetry, client and command line.

Read `topology.py` first: every topic, agent and service stands there, top to bottom.
"""
