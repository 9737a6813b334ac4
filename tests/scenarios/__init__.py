"""Stories of real faults as files, and the tests that play them."""
