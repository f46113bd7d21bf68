package main

// experimentCmd groups what is done with experiments beside serving them.
type experimentCmd struct {
	Check experimentCheckCmd `cmd:"" help:"Read an experiments file and say what is wrong, or what it does."`
}
