package clients

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/test/harness"
)

//lint:file-ignore SA1019 these clients send members that AWS has deprecated, and the tests repeat their calls

// terraform makes the calls of the Terraform AWS provider's resources for Cloud Map, in the provider's order, and reads
// the members that the provider reads. It never repeats a call.
type terraform struct {
	*harness.Server
	api *sd.Client
}

// resource is a resource of the provider with the arguments of a user.
type resource struct {
	name     string
	create   func() (id string, err error)
	update   func(id string) error
	read     func(id string) (string, error) // returns the state in the form of want
	destroy  func(id string) error
	want     string // the state after create
	changed  string // the state after update
	notFound string // the error code of a resource that does not exist
}

// TestTerraformCloudMap creates each resource, plans without a difference, changes it, plans again, and destroys all in
// reverse order. The service then has an instance that Terraform did not create.
func TestTerraformCloudMap(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	tf := &terraform{s, s.CloudMapWithoutRetries()}
	ids := map[string]string{}
	resources := []resource{tf.httpNamespace(), tf.privateNamespace(), tf.publicNamespace(), tf.service(ids),
		tf.instance(ids)}
	for _, r := range resources {
		id, err := r.create()
		if err != nil {
			t.Fatalf("create %s: %v", r.name, err)
		}
		ids[r.name] = id
		tf.plan(r, id, r.want)
	}
	for _, r := range resources {
		if err := r.update(ids[r.name]); err != nil {
			t.Fatalf("update %s: %v", r.name, err)
		}
		tf.plan(r, ids[r.name], r.changed)
	}
	tf.dataSources(ids)
	s.RegisterInstance(ids["service"], "stranger", map[string]string{"AWS_INSTANCE_IPV4": "10.0.0.9",
		"AWS_INSTANCE_PORT": "80"})
	for _, r := range slices.Backward(resources) {
		for range 2 { // the second time the resource does not exist, which the provider accepts
			if err := r.destroy(ids[r.name]); err != nil && harness.ErrorCode(err) != r.notFound {
				t.Fatalf("destroy %s: %v", r.name, err)
			}
		}
		if _, err := r.read(ids[r.name]); harness.ErrorCode(err) != r.notFound {
			t.Errorf("read %s after destroy: %v, want %s", r.name, err, r.notFound)
		}
	}
}

// plan reads a resource twice and compares its state with want. Terraform would show a difference in every plan.
func (tf *terraform) plan(r resource, id, want string) {
	tf.T.Helper()
	for range 2 {
		state, err := r.read(id)
		if err != nil || state != want {
			tf.T.Fatalf("read %s: %v\n%s\nwant\n%s", r.name, err, state, want)
		}
	}
}

// wait polls an operation as the provider does, for which every other status is an error.
func (tf *terraform) wait(operation *string) (*sdtypes.Operation, error) {
	for range 100 {
		out, err := tf.api.GetOperation(tf.T.Context(), &sd.GetOperationInput{OperationId: operation})
		if err != nil {
			return nil, err
		}
		switch op := out.Operation; op.Status {
		case sdtypes.OperationStatusSubmitted, sdtypes.OperationStatusPending:
		case sdtypes.OperationStatusSuccess:
			return op, nil
		default:
			return nil, fmt.Errorf("%s: %s: %s", op.Status, aws.ToString(op.ErrorCode), aws.ToString(op.ErrorMessage))
		}
	}
	return nil, errors.New("the operation did not end")
}

// created waits for an operation that creates a namespace and returns the namespace's id.
func (tf *terraform) created(operation *string) (string, error) {
	op, err := tf.wait(operation)
	if err != nil {
		return "", err
	}
	return op.Targets[string(sdtypes.OperationTargetTypeNamespace)], nil
}

// terraformToken returns a CreatorRequestId as the provider generates it.
func terraformToken() *string {
	b := make([]byte, 13)
	rand.Read(b)
	return aws.String("terraform-" + hex.EncodeToString(b))
}

// tags returns tags from pairs of the form key=value.
func tags(pairs ...string) (list []sdtypes.Tag) {
	list = []sdtypes.Tag{}
	for _, pair := range pairs {
		k, v, _ := strings.Cut(pair, "=")
		list = append(list, sdtypes.Tag{Key: &k, Value: &v})
	}
	return list
}

// retag removes a tag of a resource and adds another.
func (tf *terraform) retag(arn *string) error {
	_, untagErr := tf.api.UntagResource(tf.T.Context(),
		&sd.UntagResourceInput{ResourceARN: arn, TagKeys: []string{"stage"}})
	_, tagErr := tf.api.TagResource(tf.T.Context(), &sd.TagResourceInput{ResourceARN: arn, Tags: tags("team=a")})
	return errors.Join(untagErr, tagErr)
}

// tagsOf returns the tags of a resource as key=value, separated by commas.
func (tf *terraform) tagsOf(arn *string) (string, error) {
	out, err := tf.api.ListTagsForResource(tf.T.Context(), &sd.ListTagsForResourceInput{ResourceARN: arn})
	if err != nil {
		return "", err
	}
	var all []string
	for _, tag := range out.Tags {
		all = append(all, *tag.Key+"="+*tag.Value)
	}
	return strings.Join(all, ","), nil
}

// readNamespace returns the state of a namespace: name and description as they were written, and computed members.
func (tf *terraform) readNamespace(id string) (string, error) {
	out, err := tf.api.GetNamespace(tf.T.Context(), &sd.GetNamespaceInput{Id: &id})
	if err != nil {
		return "", err
	}
	ns := out.Namespace
	all, err := tf.tagsOf(ns.Arn)
	if err != nil {
		return "", err
	}
	zone := ns.Properties != nil && ns.Properties.DnsProperties != nil &&
		aws.ToString(ns.Properties.DnsProperties.HostedZoneId) != ""
	return fmt.Sprintf("name=%s description=%s http_name=%s zone=%v tags=%s", *ns.Name, aws.ToString(ns.Description),
		aws.ToString(ns.Properties.HttpProperties.HttpName), zone, all), nil
}

// namespaceARN returns the ARN of a namespace.
func (tf *terraform) namespaceARN(id string) (*string, error) {
	out, err := tf.api.GetNamespace(tf.T.Context(), &sd.GetNamespaceInput{Id: &id})
	if err != nil {
		return nil, err
	}
	return out.Namespace.Arn, nil
}

// destroyNamespace deletes a namespace and waits for the operation.
func (tf *terraform) destroyNamespace(id string) error {
	out, err := tf.api.DeleteNamespace(tf.T.Context(), &sd.DeleteNamespaceInput{Id: &id})
	if err != nil {
		return err
	}
	_, err = tf.wait(out.OperationId)
	return err
}

// httpNamespace returns aws_service_discovery_http_namespace.
func (tf *terraform) httpNamespace() resource {
	return resource{
		name: "http_namespace", read: tf.readNamespace, destroy: tf.destroyNamespace, notFound: "NamespaceNotFound",
		want:    "name=tf-http description=d http_name=tf-http zone=false tags=stage=test",
		changed: "name=tf-http description=d http_name=tf-http zone=false tags=team=a",
		create: func() (string, error) {
			out, err := tf.api.CreateHttpNamespace(tf.T.Context(), &sd.CreateHttpNamespaceInput{
				Name: aws.String("tf-http"), Description: aws.String("d"), CreatorRequestId: terraformToken(),
				Tags: tags("stage=test")})
			if err != nil {
				return "", err
			}
			return tf.created(out.OperationId)
		},
		update: func(id string) error { // a new description would replace the namespace
			arn, err := tf.namespaceARN(id)
			if err != nil {
				return err
			}
			return tf.retag(arn)
		},
	}
}

// privateNamespace returns aws_service_discovery_private_dns_namespace.
func (tf *terraform) privateNamespace() resource {
	return resource{
		name: "private_dns_namespace", read: tf.readNamespace, destroy: tf.destroyNamespace,
		notFound: "NamespaceNotFound",
		want:     "name=tf.local description=d http_name=tf.local zone=true tags=",
		changed:  "name=tf.local description= http_name=tf.local zone=true tags=",
		create: func() (string, error) {
			out, err := tf.api.CreatePrivateDnsNamespace(tf.T.Context(), &sd.CreatePrivateDnsNamespaceInput{
				Name: aws.String("tf.local"), Vpc: aws.String("vpc-1"), Description: aws.String("d"),
				CreatorRequestId: terraformToken(), Tags: tags()})
			if err != nil {
				return "", err
			}
			return tf.created(out.OperationId)
		},
		update: func(id string) error {
			out, err := tf.api.UpdatePrivateDnsNamespace(tf.T.Context(), &sd.UpdatePrivateDnsNamespaceInput{
				Id: &id, UpdaterRequestId: terraformToken(), Namespace: &sdtypes.PrivateDnsNamespaceChange{
					Description: aws.String("")}})
			if err != nil {
				return err
			}
			_, err = tf.wait(out.OperationId)
			return err
		},
	}
}

// publicNamespace returns aws_service_discovery_public_dns_namespace.
func (tf *terraform) publicNamespace() resource {
	return resource{
		name: "public_dns_namespace", read: tf.readNamespace, destroy: tf.destroyNamespace,
		notFound: "NamespaceNotFound",
		want:     "name=tf.example description= http_name=tf.example zone=true tags=",
		changed:  "name=tf.example description=changed http_name=tf.example zone=true tags=",
		create: func() (string, error) {
			out, err := tf.api.CreatePublicDnsNamespace(tf.T.Context(), &sd.CreatePublicDnsNamespaceInput{
				Name: aws.String("tf.example"), CreatorRequestId: terraformToken(), Tags: tags()})
			if err != nil {
				return "", err
			}
			return tf.created(out.OperationId)
		},
		update: func(id string) error {
			out, err := tf.api.UpdatePublicDnsNamespace(tf.T.Context(), &sd.UpdatePublicDnsNamespaceInput{
				Id: &id, UpdaterRequestId: terraformToken(), Namespace: &sdtypes.PublicDnsNamespaceChange{
					Description: aws.String("changed")}})
			if err != nil {
				return err
			}
			_, err = tf.wait(out.OperationId)
			return err
		},
	}
}

// ttls returns an SRV and an A record with their TTLs.
func ttls(srv, a int64) []sdtypes.DnsRecord {
	return []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeSrv, TTL: &srv}, {Type: sdtypes.RecordTypeA, TTL: &a}}
}

// service returns aws_service_discovery_service with force_destroy. Its namespace is in dns_config, as in the
// provider's documentation.
func (tf *terraform) service(ids map[string]string) resource {
	const form = "name=web type=DNS_HTTP description=%s dns_config={namespace=true policy=MULTIVALUE SRV=%d A=%d} " +
		"threshold=1 tags=stage=test"
	return resource{
		name: "service", notFound: "ServiceNotFound", want: fmt.Sprintf(form, "", 60, 10),
		changed: fmt.Sprintf(form, "changed", 30, 5),
		create: func() (string, error) {
			out, err := tf.api.CreateService(tf.T.Context(), &sd.CreateServiceInput{
				Name: aws.String("web"), CreatorRequestId: terraformToken(), Tags: tags("stage=test"),
				DnsConfig: &sdtypes.DnsConfig{NamespaceId: aws.String(ids["private_dns_namespace"]),
					RoutingPolicy: sdtypes.RoutingPolicyMultivalue, DnsRecords: ttls(60, 10)},
				HealthCheckCustomConfig: &sdtypes.HealthCheckCustomConfig{FailureThreshold: aws.Int32(1)},
			})
			if err != nil {
				return "", err
			}
			return *out.Service.Id, nil
		},
		update: func(id string) error {
			out, err := tf.api.UpdateService(tf.T.Context(),
				&sd.UpdateServiceInput{Id: &id, Service: &sdtypes.ServiceChange{
					Description: aws.String("changed"), DnsConfig: &sdtypes.DnsConfigChange{DnsRecords: ttls(30, 5)}}})
			if err != nil {
				return err
			}
			if _, err = tf.wait(out.OperationId); err != nil {
				return err
			}
			reply, err := tf.QueryDNS("web.tf.local", dns.TypeA) // the record of the instance must have the new TTL
			if err == nil && (len(reply.Answer) != 1 || reply.Answer[0].Header().Ttl != 5) {
				err = fmt.Errorf("after the update DNS answers %v", reply.Answer)
			}
			return err
		},
		read: func(id string) (string, error) {
			out, err := tf.api.GetService(tf.T.Context(), &sd.GetServiceInput{Id: &id})
			if err != nil {
				return "", err
			}
			svc := out.Service
			records := ""
			for _, r := range svc.DnsConfig.DnsRecords { // for the provider the order matters
				records += fmt.Sprintf(" %s=%d", r.Type, *r.TTL)
			}
			all, err := tf.tagsOf(svc.Arn)
			return fmt.Sprintf(
				"name=%s type=%s description=%s dns_config={namespace=%v policy=%s%s} threshold=%d tags=%s",
				*svc.Name, svc.Type, aws.ToString(svc.Description),
				aws.ToString(svc.DnsConfig.NamespaceId) == ids["private_dns_namespace"],
				svc.DnsConfig.RoutingPolicy, records,
				aws.ToInt32(svc.HealthCheckCustomConfig.FailureThreshold), all), err
		},
		destroy: func(id string) error {
			pages := sd.NewListInstancesPaginator(tf.api, &sd.ListInstancesInput{ServiceId: &id})
			for pages.HasMorePages() {
				page, err := pages.NextPage(tf.T.Context())
				if err != nil {
					return err
				}
				for _, i := range page.Instances {
					if err := tf.deregister(id, *i.Id); err != nil {
						return err
					}
				}
			}
			_, err := tf.api.DeleteService(tf.T.Context(), &sd.DeleteServiceInput{Id: &id})
			return err
		},
	}
}

// deregister deregisters an instance and waits for the operation.
func (tf *terraform) deregister(service, id string) error {
	out, err := tf.api.DeregisterInstance(tf.T.Context(),
		&sd.DeregisterInstanceInput{ServiceId: &service, InstanceId: &id})
	if err != nil {
		return err
	}
	_, err = tf.wait(out.OperationId)
	return err
}

// instance returns aws_service_discovery_instance.
func (tf *terraform) instance(ids map[string]string) resource {
	register := func(custom string) error {
		out, err := tf.api.RegisterInstance(tf.T.Context(),
			&sd.RegisterInstanceInput{ServiceId: aws.String(ids["service"]), InstanceId: aws.String("web-1"),
				CreatorRequestId: terraformToken(), Attributes: map[string]string{"AWS_INSTANCE_IPV4": "10.0.0.1",
					"AWS_INSTANCE_PORT": "80", "custom": custom}})
		if err != nil {
			return err
		}
		_, err = tf.wait(out.OperationId)
		return err
	}
	return resource{
		name: "instance", notFound: "InstanceNotFound",
		want:    "map[AWS_INSTANCE_IPV4:10.0.0.1 AWS_INSTANCE_PORT:80 custom:a]",
		changed: "map[AWS_INSTANCE_IPV4:10.0.0.1 AWS_INSTANCE_PORT:80 custom:b]",
		create:  func() (string, error) { return "web-1", register("a") },
		update:  func(string) error { return register("b") },
		read: func(id string) (string, error) {
			out, err := tf.api.GetInstance(tf.T.Context(),
				&sd.GetInstanceInput{ServiceId: aws.String(ids["service"]), InstanceId: &id})
			if err != nil {
				return "", err
			}
			return fmt.Sprint(out.Instance.Attributes), nil
		},
		destroy: func(id string) error { return tf.deregister(ids["service"], id) },
	}
}

// dataSources finds namespaces and services by their names, as the provider's data sources do.
func (tf *terraform) dataSources(ids map[string]string) {
	tf.T.Helper()
	for kind, want := range map[sdtypes.NamespaceType]string{
		sdtypes.NamespaceTypeHttp: "tf-http", sdtypes.NamespaceTypeDnsPrivate: "tf.local",
		sdtypes.NamespaceTypeDnsPublic: "tf.example",
	} {
		found := harness.ReadPages(tf.T, sd.NewListNamespacesPaginator(tf.api,
			&sd.ListNamespacesInput{Filters: []sdtypes.NamespaceFilter{
				{Name: sdtypes.NamespaceFilterNameType, Condition: sdtypes.FilterConditionEq,
					Values: []string{string(kind)}}}}),
			func(page *sd.ListNamespacesOutput) (names []string) {
				for _, ns := range page.Namespaces {
					names = append(names, *ns.Name)
				}
				return names
			})
		if !slices.Equal(found, []string{want}) {
			tf.T.Errorf("the %s namespaces are %v, want %s", kind, found, want)
		}
	}
	found := harness.ReadPages(tf.T, sd.NewListServicesPaginator(tf.api,
		&sd.ListServicesInput{Filters: []sdtypes.ServiceFilter{
			{Name: sdtypes.ServiceFilterNameNamespaceId, Condition: sdtypes.FilterConditionEq,
				Values: []string{ids["private_dns_namespace"]}}}}),
		func(page *sd.ListServicesOutput) (names []string) {
			for _, svc := range page.Services {
				names = append(names, *svc.Name)
			}
			return names
		})
	if !slices.Equal(found, []string{"web"}) {
		tf.T.Errorf("the services are %v, want web", found)
	}
}
