package main

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// quotedDSN is the connection string in the driver's reason when it cannot be parsed:
// what is a password in it, only its author knows.
var quotedDSN = regexp.MustCompile("(?s)cannot parse `.*`: ")

var passwordOf = regexp.MustCompile(`(?i)password\s*=\s*('(?:[^'\\]|\\.)*'|[^\s&]+)`)

// withoutPassword is the driver's reason without the password of the connection
// string, in whatever form it was written. The drivers take most of them out
// themselves, but not those of a string that they cannot read.
func withoutPassword(dsn string, err error) string {
	text := quotedDSN.ReplaceAllString(err.Error(), "cannot parse the connection string: ")
	var secrets []string
	if config, err := pgx.ParseConfig(dsn); err == nil {
		secrets = append(secrets, config.Password)
	}
	if u, err := url.Parse(dsn); err == nil && u.User != nil {
		password, _ := u.User.Password()
		secrets = append(secrets, password, url.QueryEscape(password), url.PathEscape(password))
	}
	for _, match := range passwordOf.FindAllStringSubmatch(dsn, -1) {
		secrets = append(secrets, match[1], strings.Trim(match[1], "'"))
	}
	if _, rest, found := strings.Cut(dsn, "://"); found { // a URL that is none
		if userinfo, _, found := cutLast(rest, "@"); found {
			if _, password, found := strings.Cut(userinfo, ":"); found {
				secrets = append(secrets, password)
			}
		}
	}
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "xxxxx")
		}
	}
	return text
}

func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}
