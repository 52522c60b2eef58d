"""Long drills with real faults; `make drills` runs each and prints its figures."""
