// Package awsapi serves the protocols of AWS: JSON 1.1 over HTTP, signed with Signature Version 4. It knows no rule of
// the domain.
//
// A request passes through these files, in this order:
//
//	handler.go  NewHandler: request id, body limit, authorization by role, panics, the response
//	sigv4.go    verifies the signature, its service and its region
//	keys.go     permanent access keys, and temporary ones with a session token
//	service.go  Service and Handle: from X-Amz-Target to a Go function
//	decode.go   from the body to an Input type of aws-sdk-go-v2
//	encode.go   from an Output type of aws-sdk-go-v2 to the body of the response
//	update.go   Update: the transaction of a call, and the scope of its rows
//	errors.go   Errors: from a fault of the domain to an API's error, and to {"__type": ..., "message": ...}
//
// codec.go prepares for each type what decode.go and encode.go need. credentials.go loads or creates the server's
// access key.
//
// An API registers one function per operation. Its parameters are the SDK's own types:
//
//	svc := &awsapi.Service{
//		TargetPrefix: "Route53AutoNaming_v20170314",
//		SigningName:  "servicediscovery",
//		Naming:       awsapi.UpperCamel,
//		ErrorOf:      wireErrors.Translate,
//	}
//	awsapi.Handle(svc, api.createService) // the SDK's CreateServiceInput to its CreateServiceOutput
//	http.Serve(listener, awsapi.NewHandler(awsapi.Config{Account: account, Keys: keys}, svc))
//
// The package promises:
//
//   - No function is called before the signature has been verified over exactly the bytes that the function receives,
//     and before the key's role permits the operation.
//   - The context carries the caller and the region of the credential scope ([CallerFrom]).
//   - No input makes the server panic, hang or keep memory.
//   - The text of an unknown error is logged and never sent.
//
// It does not route by host, because SDKs put "data-" before the host of the Discover operations. It accepts any base
// path, because an endpoint URL may contain one.
//
// Other protocols use the same verification: they implement [API]. Packages sts and route53 do so and share xml.go.
package awsapi
