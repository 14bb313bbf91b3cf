//go:build tools

// Package main names the server, so that its version is pinned here with the client's.
package main

import _ "github.com/nats-io/nats-server/v2"
