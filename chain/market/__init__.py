"""What listeners and artists do on a chain: register, price, buy, give, refund, earn, collect."""
