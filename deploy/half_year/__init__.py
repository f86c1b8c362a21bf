"""Half a year of a city's real requests on a compressed clock, held against what the city did with them."""
