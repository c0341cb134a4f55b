"""The UR4Rec model and its components."""
