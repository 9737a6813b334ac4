"""Laws of the whole core: one test a law, over generated streams."""
