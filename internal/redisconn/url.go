package redisconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// URLForms lists the URLs that Open understands, for error messages and help texts.
const URLForms = "redis://[USER:PASSWORD@]HOST[:PORT][/DB], " +
	"redis-cluster://HOST[:PORT],HOST..., " +
	"redis-sentinel://HOST[:PORT],HOST.../MASTER[/DB]; " +
	"rediss... for TLS, with ?ca=FILE if the server's certificate is not a public one; " +
	"?prefix=TENANT puts all keys under a prefix; " +
	"?sentinel_user=, ?sentinel_password= if the sentinels have accounts of their own"

// maxPrefixBytes bounds the prefix of all keys.
const maxPrefixBytes = 64

// errNotEncoded says how to write a password that would end where the hosts or the path begin.
var errNotEncoded = errors.New("user, password or a parameter has a special character: write " +
	"%23 for #, %25 for %, %2F for /, %3A for :, %3F for ? and %40 for @")

// parseURL parses a URL. net/url cannot parse a list of hosts, so the hosts are cut out here. No
// error quotes what may be a part of a password: a URL with a wrongly written password is cut at
// the wrong places, so what looks like a host or a parameter may be a part of it.
func parseURL(raw string) (_ *redis.UniversalOptions, prefix string, err error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return nil, "", errors.New("it has no scheme")
	}
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	if strings.ContainsAny(tail, "@#") {
		return nil, "", errNotEncoded
	}
	user, hosts := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, hosts = authority[:i+1], authority[i+1:]
	}
	u, err := url.Parse("redis://" + user + "host" + tail)
	if err != nil {
		return nil, "", errNotEncoded // the parser's error would quote the password
	}
	parameters, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, "", errNotEncoded
	}
	o := &redis.UniversalOptions{Username: u.User.Username()}
	o.Password, _ = u.User.Password()
	kind, secure := strings.CutPrefix(scheme, "rediss")
	if !secure {
		if kind, ok = strings.CutPrefix(scheme, "redis"); !ok {
			return nil, "", errScheme
		}
	} else {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	port, err := setKind(o, kind, strings.Split(strings.Trim(u.Path, "/"), "/"))
	if err != nil {
		return nil, "", err
	}
	if o.Addrs, err = addresses(hosts, port); err != nil {
		return nil, "", err
	}
	if kind == "" && len(o.Addrs) > 1 {
		return nil, "", errors.New("several hosts need redis-cluster:// or redis-sentinel://")
	}
	prefix, err = applyParameters(o, parameters)
	return o, prefix, err
}

var errScheme = errors.New("its scheme is unknown")

// setKind sets what the scheme after "redis" and the path say, and returns the default port.
func setKind(o *redis.UniversalOptions, kind string, path []string) (port string, err error) {
	port = "6379"
	switch kind {
	case "":
	case "-cluster":
		o.IsClusterMode = true
		if path[0] != "" {
			return "", errors.New("a cluster has no databases; remove the path")
		}
	case "-sentinel":
		port, o.MasterName = "26379", path[0]
		if o.MasterName == "" {
			return "", errors.New("after the hosts, name the master that the sentinels watch")
		}
		path = path[1:]
	default:
		return "", errScheme
	}
	return port, setDatabase(o, path)
}

func setDatabase(o *redis.UniversalOptions, path []string) error {
	if len(path) == 0 || path[0] == "" {
		return nil
	}
	db, err := strconv.Atoi(path[0])
	if err != nil || db < 0 || len(path) > 1 {
		return errors.New("the database in the path must be a number, 0 or more")
	}
	o.DB = db
	return nil
}

// addresses splits a list of hosts, and adds the port where a host has none.
func addresses(hosts, port string) (out []string, err error) {
	for h := range strings.SplitSeq(hosts, ",") {
		if host, p, err := net.SplitHostPort(h); err == nil {
			if _, err := strconv.ParseUint(p, 10, 16); err != nil {
				return nil, errors.New("the port of a host must be a number up to 65535; user " +
					"and password go before the host, with @ behind them")
			}
			out = append(out, net.JoinHostPort(host, p))
			continue
		}
		h = strings.Trim(h, "[]")
		if h == "" {
			return nil, errors.New("a host is empty")
		}
		out = append(out, net.JoinHostPort(h, port))
	}
	return out, nil
}

func applyParameters(o *redis.UniversalOptions, q url.Values) (prefix string, err error) {
	for name, v := range q {
		switch name {
		case "prefix":
			prefix = v[0]
			if strings.ContainsAny(prefix, "{}") || len(prefix) > maxPrefixBytes {
				return "", fmt.Errorf("prefix must have at most %d bytes and no braces",
					maxPrefixBytes)
			}
		case "ca":
			if err := trustCA(o, v[0]); err != nil {
				return "", err
			}
		case "sentinel_user":
			o.SentinelUsername = v[0]
		case "sentinel_password":
			o.SentinelPassword = v[0]
		default:
			return "", errors.New("a parameter is unknown; there are prefix, ca, sentinel_user " +
				"and sentinel_password")
		}
	}
	return prefix, nil
}

// trustCA accepts only certificates that those in the file have signed.
func trustCA(o *redis.UniversalOptions, file string) error {
	if o.TLSConfig == nil {
		return errors.New("parameter ca needs rediss://")
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	o.TLSConfig.RootCAs = x509.NewCertPool()
	if !o.TLSConfig.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("ca: %s holds no certificate in PEM form", file)
	}
	return nil
}
