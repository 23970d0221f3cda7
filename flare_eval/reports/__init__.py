"""Tables, rankings, charts and pictures of scores."""
