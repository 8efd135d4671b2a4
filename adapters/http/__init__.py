"""In-house platforms that speak the long-running-operation contract over HTTP."""
