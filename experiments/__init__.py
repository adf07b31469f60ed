"""Scripts: flags only. The code they call lives in `skilljax`."""
