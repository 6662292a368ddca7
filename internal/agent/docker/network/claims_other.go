//go:build !linux

package network

import "errors"

// Claims are the slices that one server has claimed. There are none on this system.
type Claims struct{}

// Claim returns an error: the networks of VPCs need Linux.
func (*Claims) Claim([]Network, []Used) (Network, error) {
	return Network{}, errors.New("the networks of VPCs need Linux")
}

// Close does nothing.
func (*Claims) Close() {}
