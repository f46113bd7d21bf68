package parallel

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Catch calls f, and turns a panic in it into an error that names its place. The error may be
// logged, and the panic's value may hold a user's data, so only the Go runtime's own messages are
// quoted.
func Catch(f func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *Panic:
			err = panicError(p.Value, p.Stack)
		default:
			err = panicError(p, debug.Stack())
		}
	}()
	return f()
}

func panicError(value any, stack []byte) error {
	if err, ok := value.(runtime.Error); ok {
		return fmt.Errorf("panic: %w\n%s", err, stack)
	}
	return fmt.Errorf("panic with a %T\n%s", value, stack)
}
