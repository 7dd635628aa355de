"""What the papers print: complexity and times, as data with their source."""
