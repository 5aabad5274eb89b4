"""Running a bundle's graphs: providers started, sessions made, the state carried from run to run."""
