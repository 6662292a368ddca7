// Package awsapi is the edge that speaks the protocols of AWS: JSON 1.1 over HTTP, behind Signature
// Version 4. It decides nothing about the domain.
//
// A request passes through these files, in this order:
//
//	handler.go  NewHandler: request id, body limit, authorisation by role, panics, the answer
//	sigv4.go    is the request signed, by whom, for which service and region?
//	keys.go     the permanent access keys and the temporary ones with a session token
//	service.go  Service and Handle: X-Amz-Target to a Go function
//	decode.go   the body to an Input type of aws-sdk-go-v2
//	encode.go   an Output type of aws-sdk-go-v2 to the answer's body
//	update.go   Update: the one transaction of a call, and the scope of its rows
//	errors.go   Errors: a fault of the domain to an API's error; an error to {"__type": ..., "message": ...}
//
// Beside them, codec.go works out once for each type what decode.go and encode.go do with it, and
// credentials.go finds or makes the server's own access key.
//
// An API registers one function per operation, typed with the SDK's own shapes:
//
//	svc := &awsapi.Service{
//		TargetPrefix: "Route53AutoNaming_v20170314",
//		SigningName:  "servicediscovery",
//		Naming:       awsapi.UpperCamel,
//		ErrorOf:      wireErrors.Translate,
//	}
//	awsapi.Handle(svc, api.createService) // func(context.Context, *sd.CreateServiceInput) (*sd.CreateServiceOutput, error)
//	http.Serve(listener, awsapi.NewHandler(awsapi.Config{Account: account, Keys: keys}, svc))
//
// It promises: no function is called before the signature has been verified over the very bytes that it
// is given and the key's role permits the operation; the scope's region and the caller are in the context
// ([CallerFrom]); no input makes it panic, hang or keep memory; what an unknown error says is logged and
// never sent.
//
// It does not route by Host, since SDKs put "data-" before the host of the Discover operations, and
// accepts any base path, since an endpoint URL may carry one.
//
// Protocols other than JSON 1.1 stand behind the same verification by being an [API]; packages sts and route53
// are such, and share xml.go.
package awsapi
