package redisconn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/redis/go-redis/v9"
)

// reasons lists error replies that stay until somebody changes the configuration, by the beginning
// of the reply, with what to do.
var reasons = []struct{ prefix, remedy string }{
	{"WRONGPASS", "correct user and password in the Redis URL, with %XX for special characters"},
	{"NOAUTH", "add user and password to the Redis URL: redis://USER:PASSWORD@HOST"},
	{"AUTH <password> called without any password", "remove the password from the Redis URL"},
	{"NOPERM", "give the Redis user the missing right; see docs/operations.md"},
	{"DB index is out of range", "correct the database at the end of the Redis URL"},
	{"SELECT is not allowed in cluster mode", "write redis-cluster://HOST without a database"},
	{"This instance has cluster support disabled", "write redis://HOST for a single server"},
	{"MOVED", "write redis-cluster://HOST for a cluster"},
}

// ConfigurationError says that Redis cannot be used until its URL, its accounts or the network
// change. Its message says what to change. It never quotes a password.
type ConfigurationError struct {
	err    error
	remedy string
}

// Error implements error.
func (e *ConfigurationError) Error() string { return fmt.Sprintf("%v; %s", e.err, e.remedy) }

// Unwrap returns the client's error.
func (e *ConfigurationError) Unwrap() error { return e.err }

// Explain wraps an error that repeating cannot repair in a ConfigurationError. It returns any other
// error as it is.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	for _, r := range reasons {
		if redis.HasErrorPrefix(err, r.prefix) {
			return &ConfigurationError{err, r.remedy}
		}
	}
	var unknownHost *net.DNSError
	if errors.As(err, &unknownHost) && unknownHost.IsNotFound {
		return &ConfigurationError{err, "correct the host in the Redis URL"}
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return &ConfigurationError{err, "name the authority with ?ca=FILE in the Redis URL"}
	}
	return err
}
