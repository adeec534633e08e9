"""What replies mean and who must not be mailed."""
