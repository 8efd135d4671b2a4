"""The client that blocks: it drives the flows of ``modelport.flows``, and its methods are those of ``awaiting``."""
