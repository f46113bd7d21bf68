package signals

import "time"

// Settle waits until n requests wait for the batch that is computed.
func (e *RemoteUserTower) Settle(n int) {
	for {
		e.mu.Lock()
		waiting := len(e.waiting)
		e.mu.Unlock()
		if waiting >= n {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
