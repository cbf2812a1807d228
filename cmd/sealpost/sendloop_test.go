package main

func sendLoop() {}
