"""`serin rehearse`: what a policy would do with the traffic that there is, before anything is deployed."""
