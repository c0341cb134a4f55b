"""UR4Rec for RecBole."""
