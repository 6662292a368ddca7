package awsapi

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"

	"github.com/aws/smithy-go"
)

// AppendXML appends a document: the XML declaration, and v as an element named root in the namespace xmlns. v is a
// struct with tags of encoding/xml.
func AppendXML(dst []byte, root, xmlns string, v any) ([]byte, error) {
	b := bytes.NewBuffer(append(dst, xml.Header...))
	start := xml.StartElement{
		Name: xml.Name{Local: root},
		Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: xmlns}},
	}
	if err := xml.NewEncoder(b).EncodeElement(v, start); err != nil {
		return dst, fmt.Errorf("render %s: %w", root, err)
	}
	return b.Bytes(), nil
}

// xmlCodes maps codes of JSON 1.1 to the codes of the XML protocols where these differ, with their HTTP status ("Common
// Errors" in the API References of STS and Route 53).
var xmlCodes = map[string]struct {
	code   string
	status int
}{
	"MissingAuthenticationTokenException": {"MissingAuthenticationToken", http.StatusForbidden},
	"IncompleteSignatureException":        {"IncompleteSignature", http.StatusBadRequest},
	"InvalidSignatureException":           {"SignatureDoesNotMatch", http.StatusForbidden},
	"UnrecognizedClientException":         {"InvalidClientTokenId", http.StatusForbidden},
	"ExpiredTokenException":               {"ExpiredToken", http.StatusForbidden},
	"AccessDeniedException":               {"AccessDenied", http.StatusForbidden},
	"RequestEntityTooLargeException":      {"RequestEntityTooLarge", http.StatusRequestEntityTooLarge},
}

type xmlError struct {
	Type      string `xml:"Error>Type"` // the party at fault: Sender or Receiver
	Code      string `xml:"Error>Code"`
	Message   string `xml:"Error>Message"`
	RequestID string `xml:"RequestId"`
}

// AppendXMLError appends err as an ErrorResponse document and returns it with its HTTP status. APIs that respond in XML
// use it for AppendError.
func AppendXMLError(dst []byte, xmlns string, err smithy.APIError, requestID string) ([]byte, int) {
	answer := xmlError{Type: "Sender", Code: err.ErrorCode(), Message: err.ErrorMessage(), RequestID: requestID}
	status := HTTPStatus(err)
	if x, ok := xmlCodes[answer.Code]; ok {
		answer.Code, status = x.code, x.status
	}
	if status >= http.StatusInternalServerError {
		answer.Type = "Receiver"
	}
	body, failed := AppendXML(dst, "ErrorResponse", xmlns, answer)
	if failed != nil {
		return dst, http.StatusInternalServerError // cannot happen: a struct of strings always has an XML form
	}
	return body, status
}
