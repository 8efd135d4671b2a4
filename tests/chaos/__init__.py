"""Real murder: processes are killed, frozen and terminated while operations run, and the damage is counted."""
