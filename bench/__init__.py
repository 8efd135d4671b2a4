"""The same work done by modelport and by what people would use instead, side by side."""
