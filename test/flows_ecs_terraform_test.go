package test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// ecsTerraform makes the calls of the Terraform AWS provider's resources for ECS, in the provider's order, and
// reads the members that the provider reads. It never repeats a call.
type ecsTerraform struct {
	*terraform
	ecs *ecs.Client
}

// errGone is what the provider takes for a resource that somebody else has deleted.
var errGone = errors.New("gone")

// TestTerraformECS applies each resource, plans without a difference, changes it, plans again, and destroys all
// in reverse order. The service runs: its tasks are of a Fargate strategy and registered in Cloud Map.
func TestTerraformECS(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "process")
	tf := &ecsTerraform{&terraform{s, s.cloudMapOnce()}, s.ecsOnce()}
	registry := s.Discovery(s.Namespace("tf-ecs.local"), "web", 1)
	ids := map[string]string{"registry": *registry.Arn}
	resources := []resource{
		tf.accountSetting(), tf.capacityProvider(), tf.cluster(), tf.clusterProviders(ids), tf.taskDefinition(), tf.ecsService(ids), tf.tag(ids),
	}
	for _, r := range resources {
		id, err := r.create()
		if err != nil {
			t.Fatalf("create %s: %v", r.name, err)
		}
		ids[r.name] = id
		tf.plan(r, id, r.want)
	}
	if n := len(s.Discover("tf-ecs.local", "web", "ALL")); n != 2 {
		t.Errorf("%d instances are registered of a service of 2", n)
	}
	for _, r := range resources {
		if err := r.update(ids[r.name]); err != nil {
			t.Fatalf("update %s: %v", r.name, err)
		}
		tf.plan(r, ids[r.name], r.changed)
	}
	tf.execution(ids)
	for _, r := range slices.Backward(resources) {
		if err := r.destroy(ids[r.name]); err != nil {
			t.Fatalf("destroy %s: %v", r.name, err)
		}
		if state, err := r.read(ids[r.name]); errorCode(err) != r.notFound && state != r.notFound {
			t.Errorf("read %s after it was destroyed: %s, %v, want %s", r.name, state, err, r.notFound)
		}
	}
}

// poll asks until what the provider waits for is so.
func (tf *ecsTerraform) poll(what string, so func() (bool, error)) error {
	var err error
	eventually(tf.T, time.Minute, what, func() bool {
		ok := false
		ok, err = so()
		return ok || err != nil
	})
	return err
}

func ecsTags(pairs ...string) []ecstypes.Tag {
	list := []ecstypes.Tag{}
	for _, pair := range pairs {
		k, v, _ := strings.Cut(pair, "=")
		list = append(list, ecstypes.Tag{Key: &k, Value: &v})
	}
	return list
}

func ecsTagText(tags []ecstypes.Tag) string {
	var all []string
	for _, tag := range tags {
		all = append(all, *tag.Key+"="+*tag.Value)
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// retagECS changes the tags of what has the ARN: one goes, one comes.
func (tf *ecsTerraform) retagECS(arn string) error {
	_, gone := tf.ecs.UntagResource(tf.T.Context(), &ecs.UntagResourceInput{ResourceArn: &arn, TagKeys: []string{"stage"}})
	_, come := tf.ecs.TagResource(tf.T.Context(), &ecs.TagResourceInput{ResourceArn: &arn, Tags: ecsTags("team=a")})
	return errors.Join(gone, come)
}

// accountSetting is aws_ecs_account_setting_default.
func (tf *ecsTerraform) accountSetting() resource {
	put := func(value string) error {
		_, err := tf.ecs.PutAccountSettingDefault(tf.T.Context(), &ecs.PutAccountSettingDefaultInput{Name: "containerInsights", Value: &value})
		return err
	}
	return resource{
		name: "account_setting_default", want: "containerInsights=enabled of root", changed: "containerInsights=enhanced of root",
		notFound: "containerInsights=disabled of root", // it cannot be deleted, only set back
		create:   func() (string, error) { return "containerInsights", put("enabled") },
		update:   func(string) error { return put("enhanced") },
		destroy:  func(string) error { return put("disabled") },
		read: func(id string) (string, error) {
			out, err := tf.ecs.ListAccountSettings(tf.T.Context(), &ecs.ListAccountSettingsInput{Name: ecstypes.SettingName(id), EffectiveSettings: true})
			if err != nil {
				return "", err
			}
			_, who, _ := strings.Cut(*out.Settings[0].PrincipalArn, "000000000000:")
			return fmt.Sprintf("%s=%s of %s", out.Settings[0].Name, *out.Settings[0].Value, who), nil
		},
	}
}

// describeProvider is a capacity provider with its tags.
func (tf *ecsTerraform) describeProvider(arn string) (*ecstypes.CapacityProvider, error) {
	out, err := tf.ecs.DescribeCapacityProviders(tf.T.Context(), &ecs.DescribeCapacityProvidersInput{
		CapacityProviders: []string{arn}, Include: []ecstypes.CapacityProviderField{ecstypes.CapacityProviderFieldTags}})
	switch {
	case err != nil:
		return nil, err
	case len(out.CapacityProviders) == 0 || out.CapacityProviders[0].Status == ecstypes.CapacityProviderStatusInactive:
		return nil, errGone
	}
	return &out.CapacityProviders[0], nil
}

// capacityProvider is aws_ecs_capacity_provider, of an Auto Scaling group.
func (tf *ecsTerraform) capacityProvider() resource {
	const form = "name=tf-cp group=arn:aws:autoscaling:us-east-1:000000000000:autoScalingGroup:u:autoScalingGroupName/g draining=ENABLED protection=DISABLED scaling=%s/%d/1/10000/300 tags=%s"
	return resource{
		name: "capacity_provider", notFound: "gone", want: fmt.Sprintf(form, "ENABLED", 80, "stage=test"), changed: fmt.Sprintf(form, "DISABLED", 90, "team=a"),
		create: func() (string, error) {
			out, err := tf.ecs.CreateCapacityProvider(tf.T.Context(), &ecs.CreateCapacityProviderInput{
				Name: aws.String("tf-cp"), Tags: ecsTags("stage=test"), AutoScalingGroupProvider: &ecstypes.AutoScalingGroupProvider{
					AutoScalingGroupArn: aws.String("arn:aws:autoscaling:us-east-1:000000000000:autoScalingGroup:u:autoScalingGroupName/g"),
					ManagedScaling:      &ecstypes.ManagedScaling{Status: ecstypes.ManagedScalingStatusEnabled, TargetCapacity: aws.Int32(80)},
				}})
			if err != nil {
				return "", err
			}
			return *out.CapacityProvider.CapacityProviderArn, nil
		},
		read: func(id string) (string, error) {
			p, err := tf.describeProvider(id)
			if err != nil {
				return "", err
			}
			g, sc := p.AutoScalingGroupProvider, p.AutoScalingGroupProvider.ManagedScaling
			return fmt.Sprintf("name=%s group=%s draining=%s protection=%s scaling=%s/%d/%d/%d/%d tags=%s", *p.Name, *g.AutoScalingGroupArn, g.ManagedDraining,
				g.ManagedTerminationProtection, sc.Status, *sc.TargetCapacity, *sc.MinimumScalingStepSize, *sc.MaximumScalingStepSize,
				*sc.InstanceWarmupPeriod, ecsTagText(p.Tags)), nil
		},
		update: func(id string) error {
			_, err := tf.ecs.UpdateCapacityProvider(tf.T.Context(), &ecs.UpdateCapacityProviderInput{
				Name: aws.String("tf-cp"), AutoScalingGroupProvider: &ecstypes.AutoScalingGroupProviderUpdate{
					ManagedScaling: &ecstypes.ManagedScaling{Status: ecstypes.ManagedScalingStatusDisabled, TargetCapacity: aws.Int32(90)}}})
			if err != nil {
				return err
			}
			if err := tf.poll("the capacity provider is updated", func() (bool, error) {
				p, err := tf.describeProvider(id)
				return err == nil && p.UpdateStatus == ecstypes.CapacityProviderUpdateStatusUpdateComplete, err
			}); err != nil {
				return err
			}
			return tf.retagECS(id)
		},
		destroy: func(id string) error {
			if _, err := tf.ecs.DeleteCapacityProvider(tf.T.Context(), &ecs.DeleteCapacityProviderInput{CapacityProvider: &id}); err != nil {
				return err
			}
			return tf.poll("the capacity provider is gone", func() (bool, error) {
				_, err := tf.describeProvider(id)
				return errors.Is(err, errGone), nil
			})
		},
	}
}

// describeCluster is a cluster with what the provider includes.
func (tf *ecsTerraform) describeCluster(arn string) (*ecstypes.Cluster, error) {
	out, err := tf.ecs.DescribeClusters(tf.T.Context(), &ecs.DescribeClustersInput{Clusters: []string{arn}, Include: []ecstypes.ClusterField{
		ecstypes.ClusterFieldTags, ecstypes.ClusterFieldConfigurations, ecstypes.ClusterFieldSettings}})
	switch {
	case err != nil:
		return nil, err
	case len(out.Clusters) == 0 || *out.Clusters[0].Status == "INACTIVE":
		return nil, errGone
	}
	return &out.Clusters[0], nil
}

// cluster is aws_ecs_cluster.
func (tf *ecsTerraform) cluster() resource {
	const form = "name=tf logging=NONE settings=containerInsights=%s tags=%s"
	settings := func(value string) []ecstypes.ClusterSetting {
		return []ecstypes.ClusterSetting{{Name: ecstypes.ClusterSettingNameContainerInsights, Value: &value}}
	}
	return resource{
		name: "cluster", notFound: "gone", want: fmt.Sprintf(form, "disabled", "stage=test"), changed: fmt.Sprintf(form, "enabled", "team=a"),
		create: func() (string, error) {
			out, err := tf.ecs.CreateCluster(tf.T.Context(), &ecs.CreateClusterInput{
				ClusterName: aws.String("tf"), Tags: ecsTags("stage=test"), Settings: settings("disabled"),
				Configuration: &ecstypes.ClusterConfiguration{ExecuteCommandConfiguration: &ecstypes.ExecuteCommandConfiguration{Logging: ecstypes.ExecuteCommandLoggingNone}},
			})
			if err != nil {
				return "", err
			}
			return *out.Cluster.ClusterArn, tf.poll("the cluster is active", func() (bool, error) {
				c, err := tf.describeCluster(*out.Cluster.ClusterArn)
				return err == nil && *c.Status == "ACTIVE", err
			})
		},
		read: func(id string) (string, error) {
			c, err := tf.describeCluster(id)
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("name=%s logging=%s settings=%s=%s tags=%s", *c.ClusterName, c.Configuration.ExecuteCommandConfiguration.Logging,
				c.Settings[0].Name, *c.Settings[0].Value, ecsTagText(c.Tags)), nil
		},
		update: func(id string) error {
			if _, err := tf.ecs.UpdateCluster(tf.T.Context(), &ecs.UpdateClusterInput{Cluster: &id, Settings: settings("enabled")}); err != nil {
				return err
			}
			return tf.retagECS(id)
		},
		destroy: func(id string) error { // a service that has just been deleted may still drain
			if err := tf.poll("the cluster can be deleted", func() (bool, error) {
				_, err := tf.ecs.DeleteCluster(tf.T.Context(), &ecs.DeleteClusterInput{Cluster: &id})
				switch errorCode(err) {
				case "ClusterContainsContainerInstancesException", "ClusterContainsServicesException", "ClusterContainsTasksException", "UpdateInProgressException":
					return false, nil
				}
				return err == nil, err
			}); err != nil {
				return err
			}
			return tf.poll("the cluster is gone", func() (bool, error) {
				_, err := tf.describeCluster(id)
				return errors.Is(err, errGone), nil
			})
		},
	}
}

// clusterProviders is aws_ecs_cluster_capacity_providers.
func (tf *ecsTerraform) clusterProviders(ids map[string]string) resource {
	item := func(name string, weight, base int32) ecstypes.CapacityProviderStrategyItem {
		return ecstypes.CapacityProviderStrategyItem{CapacityProvider: &name, Weight: weight, Base: base}
	}
	put := func(providers []string, items ...ecstypes.CapacityProviderStrategyItem) error {
		if items == nil {
			items = []ecstypes.CapacityProviderStrategyItem{}
		}
		if err := tf.poll("the capacity providers can be set", func() (bool, error) { // the last tasks of one may still drain
			_, err := tf.ecs.PutClusterCapacityProviders(tf.T.Context(), &ecs.PutClusterCapacityProvidersInput{
				Cluster: aws.String("tf"), CapacityProviders: providers, DefaultCapacityProviderStrategy: items})
			switch errorCode(err) {
			case "ResourceInUseException", "UpdateInProgressException":
				return false, nil
			}
			return err == nil, err
		}); err != nil {
			return err
		}
		return tf.poll("the capacity providers are attached", func() (bool, error) {
			c, err := tf.describeCluster("tf")
			return err == nil && aws.ToString(c.AttachmentsStatus) == "UPDATE_COMPLETE" && *c.Status == "ACTIVE", err
		})
	}
	return resource{
		name: "cluster_capacity_providers", notFound: "cluster=tf providers=[] strategy=",
		want:    "cluster=tf providers=[FARGATE FARGATE_SPOT tf-cp] strategy= FARGATE:1+1",
		changed: "cluster=tf providers=[FARGATE FARGATE_SPOT tf-cp] strategy= FARGATE:1+1 FARGATE_SPOT:3+0",
		create: func() (string, error) {
			return "tf", put([]string{"FARGATE", "FARGATE_SPOT", "tf-cp"}, item("FARGATE", 1, 1))
		},
		update: func(string) error {
			return put([]string{"FARGATE", "FARGATE_SPOT", "tf-cp"}, item("FARGATE", 1, 1), item("FARGATE_SPOT", 3, 0))
		},
		destroy: func(string) error { return put([]string{}) },
		read: func(id string) (string, error) {
			c, err := tf.describeCluster(id)
			if err != nil {
				return "", err
			}
			slices.Sort(c.CapacityProviders) // a set
			return fmt.Sprintf("cluster=%s providers=%v strategy=%s", *c.ClusterName, c.CapacityProviders, strategyText(c.DefaultCapacityProviderStrategy)), nil
		},
	}
}

func strategyText(items []ecstypes.CapacityProviderStrategyItem) (text string) {
	for _, i := range items {
		text += fmt.Sprintf(" %s:%d+%d", *i.CapacityProvider, i.Weight, i.Base)
	}
	return text
}
