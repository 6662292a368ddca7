package ecs_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

// TestEveryOperation calls each operation that the SDK has with an empty request: all are known, and none
// fails with anything but an error that ECS has.
func TestEveryOperation(t *testing.T) {
	w := newWorld(t)
	unchecked := func(o *sdk.Options) {
		o.APIOptions = append(o.APIOptions, func(s *middleware.Stack) error {
			_, err := s.Initialize.Remove("OperationInputValidation")
			if err != nil && strings.Contains(err.Error(), "not found") {
				return nil // nothing is required
			}
			return err
		})
	}
	client := reflect.ValueOf(w.Client)
	n := 0
	for i := range client.NumMethod() {
		m, name := client.Method(i), client.Type().Method(i).Name
		if m.Type().NumIn() != 3 || !m.Type().IsVariadic() {
			continue // Options
		}
		n++
		out := m.Call([]reflect.Value{reflect.ValueOf(t.Context()), reflect.New(m.Type().In(1).Elem()),
			reflect.ValueOf(unchecked)})
		err, _ := out[1].Interface().(error)
		if err == nil {
			continue
		}
		var api smithy.APIError
		switch {
		case !errors.As(err, &api):
			t.Errorf("%s: %v", name, err)
		case !strings.HasSuffix(reflect.TypeOf(api).Elem().Name(), "Exception"), api.ErrorCode() == "ServerException":
			t.Errorf("%s: %s: %s", name, api.ErrorCode(), api.ErrorMessage())
		}
	}
	if n < 80 {
		t.Errorf("only %d operations were called", n)
	}
}
