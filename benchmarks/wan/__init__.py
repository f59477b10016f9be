"""The WAN lab: links with a rate, a delay and a border on one machine, and the engine measured across them."""
