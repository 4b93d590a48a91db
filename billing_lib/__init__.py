"""Internal billing for core facilities, reproducible to the cent."""
