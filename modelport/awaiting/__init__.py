"""The client that awaits: it drives the flows of ``modelport.flows``, and its methods are those of ``blocking``."""
