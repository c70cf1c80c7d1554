"""Models in processes of their own, and the machine that they run on."""
