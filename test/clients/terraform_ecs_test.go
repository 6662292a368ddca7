package clients

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

	"github.com/bakingclouds/rollcall/test/harness"
)

// fargate returns a definition with one program that Fargate could run.
func (tf *ecsTerraform) fargate(family string, command ...string) *ecs.RegisterTaskDefinitionInput {
	in := harness.Program(tf.T, family, command...)
	in.Cpu, in.Memory = aws.String("256"), aws.String("512")
	in.RequiresCompatibilities = []ecstypes.Compatibility{ecstypes.CompatibilityFargate}
	in.ContainerDefinitions[0].Memory = nil
	in.ContainerDefinitions[0].Environment = []ecstypes.KeyValuePair{{Name: aws.String("B"), Value: aws.String("2")},
		{Name: aws.String("A"), Value: aws.String("1")}}
	return in
}

// taskDefinition returns aws_ecs_task_definition. Only its tags can change; another definition would be another
// resource.
func (tf *ecsTerraform) taskDefinition() resource {
	const form = "family=tf-web revision=1 mode=awsvpc size=256/512 compatibilities=[FARGATE] " +
		"container={main none [sleep 1000] cpu=0 essential=true env=A=1,B=2 health=sh/30/5/3} tags=%s"
	return resource{
		name: "task_definition", notFound: "deleted", want: fmt.Sprintf(form, "stage=test"),
		changed: fmt.Sprintf(form, "team=a"),
		create: func() (string, error) {
			in := tf.fargate("tf-web", "sleep", "1000")
			in.ContainerDefinitions[0].HealthCheck = &ecstypes.HealthCheck{Command: []string{"CMD-SHELL", "true"}}
			in.Tags = ecsTags("stage=test")
			out, err := tf.ecs.RegisterTaskDefinition(tf.T.Context(), in)
			if err != nil {
				return "", err
			}
			return *out.TaskDefinition.TaskDefinitionArn, nil
		},
		read: func(id string) (string, error) {
			out, err := tf.ecs.DescribeTaskDefinition(tf.T.Context(), &ecs.DescribeTaskDefinitionInput{
				TaskDefinition: &id, Include: []ecstypes.TaskDefinitionField{ecstypes.TaskDefinitionFieldTags}})
			if err != nil {
				return "", err
			}
			d := out.TaskDefinition
			if d.Status == ecstypes.TaskDefinitionStatusInactive {
				return "", errDeleted
			}
			c := d.ContainerDefinitions[0]
			var env []string // the provider compares sets
			for _, e := range c.Environment {
				env = append(env, *e.Name+"="+*e.Value)
			}
			slices.Sort(env)
			health := fmt.Sprintf("sh/%d/%d/%d", *c.HealthCheck.Interval, *c.HealthCheck.Timeout,
				*c.HealthCheck.Retries)
			return fmt.Sprintf(
				"family=%s revision=%d mode=%s size=%s/%s compatibilities=%v "+
					"container={%s %s %v cpu=%d essential=%v env=%s health=%s} tags=%s",
				*d.Family, d.Revision, d.NetworkMode, *d.Cpu, *d.Memory, d.RequiresCompatibilities, *c.Name, *c.Image,
				c.Command, c.Cpu, *c.Essential, strings.Join(env, ","), health, ecsTagText(out.Tags)), nil
		},
		update: tf.retagECS,
		destroy: func(id string) error {
			_, err := tf.ecs.DeregisterTaskDefinition(tf.T.Context(),
				&ecs.DeregisterTaskDefinitionInput{TaskDefinition: &id})
			return err
		},
	}
}

// describeService returns a service with its tags, or errDeleted if it is being deleted or was deleted.
func (tf *ecsTerraform) describeService(arn string) (*ecstypes.Service, error) {
	out, err := tf.ecs.DescribeServices(tf.T.Context(), &ecs.DescribeServicesInput{
		Cluster: aws.String("tf"), Services: []string{arn}, Include: []ecstypes.ServiceField{
			ecstypes.ServiceFieldTags}})
	switch {
	case err != nil:
		return nil, err
	case len(out.Services) == 0:
		return nil, errDeleted
	}
	return &out.Services[0], nil
}

// steady does what wait_for_steady_state does after a change at the time began. If the change deploys, it waits until
// its deployment is primary and its service deployment successful; otherwise it waits for the counts.
func (tf *ecsTerraform) steady(arn string, began time.Time, deploys bool) error {
	return tf.poll("the service is steady", func() (bool, error) {
		svc, err := tf.describeService(arn)
		if err != nil {
			return false, err
		}
		primary := svc.Deployments[0]
		if !deploys {
			return len(svc.Deployments) == 1 && svc.RunningCount == svc.DesiredCount, nil
		}
		if *primary.Status != "PRIMARY" || primary.CreatedAt.Before(began) {
			return false, nil
		}
		list, err := tf.ecs.ListServiceDeployments(tf.T.Context(), &ecs.ListServiceDeploymentsInput{
			Cluster: svc.ClusterArn, Service: svc.ServiceName, CreatedAt: &ecstypes.CreatedAt{After: &began}})
		if err != nil {
			return false, err
		}
		for _, brief := range list.ServiceDeployments {
			if !strings.Contains(*brief.TargetServiceRevisionArn, strings.TrimPrefix(*primary.Id, "ecs-svc/")) {
				continue
			}
			out, err := tf.ecs.DescribeServiceDeployments(tf.T.Context(),
				&ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{*brief.ServiceDeploymentArn}})
			if err != nil {
				return false, err
			}
			switch d := out.ServiceDeployments[0]; d.Status {
			case ecstypes.ServiceDeploymentStatusSuccessful:
				return true, nil
			case ecstypes.ServiceDeploymentStatusPending, ecstypes.ServiceDeploymentStatusInProgress:
			default:
				return false, fmt.Errorf("service deployment %s: %s", d.Status, aws.ToString(d.StatusReason))
			}
		}
		return false, nil
	})
}

// createService creates the service of ecsService and waits until it is steady.
func (tf *ecsTerraform) createService(ids map[string]string) (string, error) {
	began := time.Now().Add(-time.Second)
	out, err := tf.ecs.CreateService(tf.T.Context(), &ecs.CreateServiceInput{
		Cluster: aws.String(ids["cluster"]), ServiceName: aws.String("web"),
		TaskDefinition: aws.String(ids["task_definition"]), DesiredCount: aws.Int32(2),
		ClientToken:          aws.String("terraform-20260101000000000000001"),
		SchedulingStrategy:   ecstypes.SchedulingStrategyReplica,
		EnableECSManagedTags: true, PropagateTags: ecstypes.PropagateTagsService, Tags: ecsTags("stage=test"),
		DeploymentConfiguration: &ecstypes.DeploymentConfiguration{MinimumHealthyPercent: aws.Int32(100),
			MaximumPercent: aws.Int32(200)},
		DeploymentController: &ecstypes.DeploymentController{Type: ecstypes.DeploymentControllerTypeEcs},
		NetworkConfiguration: &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{
			Subnets: []string{"sn-b", "sn-a"}, SecurityGroups: []string{"sg-1"},
			AssignPublicIp: ecstypes.AssignPublicIpDisabled}},
		ServiceRegistries:           []ecstypes.ServiceRegistry{{RegistryArn: aws.String(ids["registry"])}},
		AvailabilityZoneRebalancing: ecstypes.AvailabilityZoneRebalancingEnabled,
	})
	if err != nil {
		return "", err
	}
	arn := *out.Service.ServiceArn
	if err := tf.poll("the service is active", func() (bool, error) {
		svc, err := tf.describeService(arn)
		return err == nil && *svc.Status == "ACTIVE", err
	}); err != nil {
		return "", err
	}
	return arn, tf.steady(arn, began, true)
}

// readService returns the state of the service of ecsService.
func (tf *ecsTerraform) readService(ids map[string]string, id string) (string, error) {
	svc, err := tf.describeService(id)
	if err != nil {
		return "", err
	}
	if *svc.Status == "INACTIVE" || *svc.Status == "DRAINING" {
		return "", errDeleted
	}
	d, r := svc.DeploymentConfiguration, svc.ServiceRegistries[0]
	n := svc.NetworkConfiguration.AwsvpcConfiguration
	slices.Sort(n.Subnets) // the provider compares sets
	_, definition, _ := strings.Cut(*svc.TaskDefinition, "task-definition/")
	return fmt.Sprintf(
		"name=%s cluster=%v count=%d launch=%s strategy=%s platform=%s scheduling=%s "+
			"controller=%s propagate=%s managed=%v exec=%v grace=%d "+
			"definition=%s percents=%d/%d breaker=%v/%v strategy=%s/%d "+
			"network=%v %v %s registry=%v/%d placement=%d/%d balancers=%d "+
			"rebalancing=%s role=%v tags=%s",
		*svc.ServiceName, *svc.ClusterArn == ids["cluster"], svc.DesiredCount, svc.LaunchType,
		strategyText(svc.CapacityProviderStrategy),
		aws.ToString(svc.PlatformVersion), svc.SchedulingStrategy, svc.DeploymentController.Type,
		svc.PropagateTags,
		svc.EnableECSManagedTags,
		svc.EnableExecuteCommand, aws.ToInt32(svc.HealthCheckGracePeriodSeconds), definition,
		*d.MinimumHealthyPercent,
		*d.MaximumPercent,
		d.DeploymentCircuitBreaker.Enable, d.DeploymentCircuitBreaker.Rollback, d.Strategy,
		*d.BakeTimeInMinutes,
		n.Subnets, n.SecurityGroups, n.AssignPublicIp,
		*r.RegistryArn == ids["registry"], aws.ToInt32(r.Port), len(svc.PlacementConstraints),
		len(svc.PlacementStrategy),
		len(svc.LoadBalancers),
		svc.AvailabilityZoneRebalancing, strings.HasSuffix(aws.ToString(svc.RoleArn),
			"AWSServiceRoleForECS"), ecsTagText(svc.Tags)), nil
}

// ecsService returns aws_ecs_service in a cluster with a default strategy.
func (tf *ecsTerraform) ecsService(ids map[string]string) resource {
	const form = "name=web cluster=true count=%d launch= strategy= FARGATE:1+1 platform=LATEST " +
		"scheduling=REPLICA controller=ECS " +
		"propagate=%s managed=%v exec=false " +
		"grace=0 " +
		"definition=%s percents=%d/200 breaker=false/false strategy=ROLLING/0 " +
		"network=[sn-a sn-b] [sg-1] DISABLED registry=true/0 placement=0/0 balancers=0 " +
		"rebalancing=%s role=true tags=%s"
	return resource{
		name: "service", notFound: "deleted",
		want:    fmt.Sprintf(form, 2, "SERVICE", true, "tf-web:1", 100, "ENABLED", "stage=test"),
		changed: fmt.Sprintf(form, 1, "SERVICE", true, "tf-web:2", 50, "DISABLED", "team=a"),
		create:  func() (string, error) { return tf.createService(ids) },
		read:    func(id string) (string, error) { return tf.readService(ids, id) },
		update: func(id string) error {
			next, err := tf.ecs.RegisterTaskDefinition(tf.T.Context(), tf.fargate("tf-web", "sleep", "1001"))
			if err != nil {
				return err
			}
			began := time.Now().Add(-time.Second)
			if _, err = tf.ecs.UpdateService(tf.T.Context(), &ecs.UpdateServiceInput{
				Cluster: aws.String(ids["cluster"]), Service: &id,
				TaskDefinition: next.TaskDefinition.TaskDefinitionArn,
				// the provider always sends it
				AvailabilityZoneRebalancing: ecstypes.AvailabilityZoneRebalancingDisabled,
				DeploymentConfiguration: &ecstypes.DeploymentConfiguration{MinimumHealthyPercent: aws.Int32(50),
					MaximumPercent: aws.Int32(200)},
			}); err != nil {
				return err
			}
			if err := tf.steady(id, began, true); err != nil {
				return err
			}
			if _, err = tf.ecs.UpdateService(tf.T.Context(), &ecs.UpdateServiceInput{
				Cluster: aws.String(ids["cluster"]), Service: &id, DesiredCount: aws.Int32(1),
				AvailabilityZoneRebalancing: ecstypes.AvailabilityZoneRebalancingDisabled,
			}); err != nil {
				return err
			}
			if err := tf.steady(id, began, false); err != nil {
				return err
			}
			return tf.retagECS(id)
		},
		destroy: func(id string) error {
			if _, err := tf.ecs.UpdateService(tf.T.Context(),
				&ecs.UpdateServiceInput{Cluster: aws.String(ids["cluster"]), Service: &id,
					DesiredCount: aws.Int32(0)}); err != nil {
				return err
			}
			if _, err := tf.ecs.DeleteService(tf.T.Context(),
				&ecs.DeleteServiceInput{Cluster: aws.String(ids["cluster"]), Service: &id}); err != nil {
				return err
			}
			return tf.poll("the service is inactive", func() (bool, error) {
				svc, err := tf.describeService(id)
				return err == nil && *svc.Status == "INACTIVE", err
			})
		},
	}
}

// tag returns aws_ecs_tag: one tag of a resource that is managed elsewhere, here the default cluster.
func (tf *ecsTerraform) tag(ids map[string]string) resource {
	put := func(arn, value string) error {
		_, err := tf.ecs.TagResource(tf.T.Context(), &ecs.TagResourceInput{ResourceArn: &arn,
			Tags: ecsTags("owner=" + value)})
		return err
	}
	return resource{
		name: "tag", notFound: "deleted", want: "owner=a", changed: "owner=b",
		create: func() (string, error) {
			arn := strings.TrimSuffix(ids["cluster"], "tf") + "default"
			return arn, put(arn, "a")
		},
		update: func(id string) error { return put(id, "b") },
		read: func(id string) (string, error) {
			out, err := tf.ecs.ListTagsForResource(tf.T.Context(), &ecs.ListTagsForResourceInput{ResourceArn: &id})
			if err != nil {
				return "", err
			}
			for _, tag := range out.Tags {
				if *tag.Key == "owner" {
					return "owner=" + *tag.Value, nil
				}
			}
			return "", errDeleted
		},
		destroy: func(id string) error {
			_, err := tf.ecs.UntagResource(tf.T.Context(),
				&ecs.UntagResourceInput{ResourceArn: &id, TagKeys: []string{"owner"}})
			return err
		},
	}
}

// execution checks the data source aws_ecs_task_execution, which runs a task, and the tags of the service's tasks.
func (tf *ecsTerraform) execution(ids map[string]string) {
	tf.T.Helper()
	ctx := tf.T.Context()
	out := harness.Must(tf.ecs.RunTask(ctx, &ecs.RunTaskInput{
		Cluster: aws.String(ids["cluster"]), TaskDefinition: aws.String("tf-web"),
		NetworkConfiguration: harness.AWSVPC(),
		Tags:                 ecsTags("job=once"),
		Overrides: &ecstypes.TaskOverride{ContainerOverrides: []ecstypes.ContainerOverride{
			{Name: aws.String("main"), Command: []string{"true"}}}},
	}))(tf.T)
	if len(out.Tasks) != 1 || aws.ToString(out.Tasks[0].CapacityProviderName) != "FARGATE" ||
		ecsTagText(out.Tasks[0].Tags) != "job=once" {
		tf.T.Errorf("RunTask returns %s", harness.AsJSON(out))
	}
	list := harness.Must(tf.ecs.ListTasks(ctx, &ecs.ListTasksInput{Cluster: aws.String("tf"),
		ServiceName: aws.String("web")}))(tf.T)
	tasks := harness.Must(tf.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{
		Cluster: aws.String("tf"), Tasks: list.TaskArns,
		Include: []ecstypes.TaskField{ecstypes.TaskFieldTags}}))(tf.T).Tasks
	for _, task := range tasks {
		if got := ecsTagText(task.Tags); got != "aws:ecs:clusterName=tf,aws:ecs:serviceName=web,stage=test" {
			tf.T.Errorf("the tags of a task of the service are %s", got)
		}
	}
	if len(tasks) != 1 {
		tf.T.Errorf("the service has %d tasks, want 1", len(tasks))
	}
}

// ecsTerraform makes the calls of the Terraform AWS provider's resources for ECS, in the provider's order, and reads
// the members that the provider reads. It never repeats a call.
type ecsTerraform struct {
	*terraform
	ecs *ecs.Client
}

// errDeleted is the provider's error for a resource that does not exist any more.
var errDeleted = errors.New("deleted")

// TestTerraformECS creates each resource, plans without a difference, changes it, plans again, and destroys all in
// reverse order. The tasks of the service run with a Fargate strategy and are registered in Cloud Map.
func TestTerraformECS(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "process")
	tf := &ecsTerraform{&terraform{s, s.CloudMapWithoutRetries()}, s.ECSWithoutRetries()}
	registry := s.CreateCloudMapService(s.CreateNamespace("tf-ecs.local"), "web", 1)
	ids := map[string]string{"registry": *registry.Arn}
	resources := []resource{
		tf.accountSetting(), tf.capacityProvider(), tf.cluster(), tf.clusterProviders(), tf.taskDefinition(),
		tf.ecsService(ids), tf.tag(ids),
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
		t.Errorf("%d instances are registered, want 2", n)
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
		if state, err := r.read(ids[r.name]); harness.ErrorCode(err) != r.notFound && state != r.notFound {
			t.Errorf("read %s after destroy: %s, %v, want %s", r.name, state, err, r.notFound)
		}
	}
}

// poll calls cond until it returns true.
func (tf *ecsTerraform) poll(what string, cond func() (bool, error)) error {
	var err error
	harness.Eventually(tf.T, time.Minute, what, func() bool {
		ok := false
		ok, err = cond()
		return ok || err != nil
	})
	return err
}

// ecsTags returns tags from pairs of the form key=value.
func ecsTags(pairs ...string) []ecstypes.Tag {
	list := []ecstypes.Tag{}
	for _, pair := range pairs {
		k, v, _ := strings.Cut(pair, "=")
		list = append(list, ecstypes.Tag{Key: &k, Value: &v})
	}
	return list
}

// ecsTagText returns tags as key=value, separated by commas.
func ecsTagText(tags []ecstypes.Tag) string {
	var all []string
	for _, tag := range tags {
		all = append(all, *tag.Key+"="+*tag.Value)
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// retagECS removes a tag of a resource and adds another.
func (tf *ecsTerraform) retagECS(arn string) error {
	_, untagErr := tf.ecs.UntagResource(tf.T.Context(), &ecs.UntagResourceInput{ResourceArn: &arn,
		TagKeys: []string{"stage"}})
	_, tagErr := tf.ecs.TagResource(tf.T.Context(), &ecs.TagResourceInput{ResourceArn: &arn, Tags: ecsTags("team=a")})
	return errors.Join(untagErr, tagErr)
}

// accountSetting returns aws_ecs_account_setting_default.
func (tf *ecsTerraform) accountSetting() resource {
	put := func(value string) error {
		_, err := tf.ecs.PutAccountSettingDefault(tf.T.Context(),
			&ecs.PutAccountSettingDefaultInput{Name: "containerInsights", Value: &value})
		return err
	}
	return resource{
		name: "account_setting_default", want: "containerInsights=enabled of root",
		changed:  "containerInsights=enhanced of root",
		notFound: "containerInsights=disabled of root", // the setting cannot be deleted, only reset
		create:   func() (string, error) { return "containerInsights", put("enabled") },
		update:   func(string) error { return put("enhanced") },
		destroy:  func(string) error { return put("disabled") },
		read: func(id string) (string, error) {
			out, err := tf.ecs.ListAccountSettings(tf.T.Context(),
				&ecs.ListAccountSettingsInput{Name: ecstypes.SettingName(id), EffectiveSettings: true})
			if err != nil {
				return "", err
			}
			_, who, _ := strings.Cut(*out.Settings[0].PrincipalArn, "000000000000:")
			return fmt.Sprintf("%s=%s of %s", out.Settings[0].Name, *out.Settings[0].Value, who), nil
		},
	}
}

// describeProvider returns a capacity provider with its tags.
func (tf *ecsTerraform) describeProvider(arn string) (*ecstypes.CapacityProvider, error) {
	out, err := tf.ecs.DescribeCapacityProviders(tf.T.Context(), &ecs.DescribeCapacityProvidersInput{
		CapacityProviders: []string{arn}, Include: []ecstypes.CapacityProviderField{
			ecstypes.CapacityProviderFieldTags}})
	switch {
	case err != nil:
		return nil, err
	case len(out.CapacityProviders) == 0 || out.CapacityProviders[0].Status == ecstypes.CapacityProviderStatusInactive:
		return nil, errDeleted
	}
	return &out.CapacityProviders[0], nil
}

// capacityProvider returns aws_ecs_capacity_provider of an Auto Scaling group.
func (tf *ecsTerraform) capacityProvider() resource {
	const group = "arn:aws:autoscaling:us-east-1:000000000000:autoScalingGroup:u:autoScalingGroupName/g"
	const form = "name=tf-cp group=" + group + " draining=ENABLED protection=DISABLED scaling=%s/%d/1/10000/300 tags=%s"
	return resource{
		name: "capacity_provider", notFound: "deleted", want: fmt.Sprintf(form, "ENABLED", 80, "stage=test"),
		changed: fmt.Sprintf(form, "DISABLED", 90, "team=a"),
		create: func() (string, error) {
			out, err := tf.ecs.CreateCapacityProvider(tf.T.Context(), &ecs.CreateCapacityProviderInput{
				Name: aws.String("tf-cp"), Tags: ecsTags("stage=test"),
				AutoScalingGroupProvider: &ecstypes.AutoScalingGroupProvider{
					AutoScalingGroupArn: aws.String(group),
					ManagedScaling: &ecstypes.ManagedScaling{Status: ecstypes.ManagedScalingStatusEnabled,
						TargetCapacity: aws.Int32(80)},
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
			return fmt.Sprintf("name=%s group=%s draining=%s protection=%s scaling=%s/%d/%d/%d/%d tags=%s", *p.Name,
				*g.AutoScalingGroupArn, g.ManagedDraining,
				g.ManagedTerminationProtection, sc.Status, *sc.TargetCapacity, *sc.MinimumScalingStepSize,
				*sc.MaximumScalingStepSize,
				*sc.InstanceWarmupPeriod, ecsTagText(p.Tags)), nil
		},
		update: func(id string) error {
			_, err := tf.ecs.UpdateCapacityProvider(tf.T.Context(), &ecs.UpdateCapacityProviderInput{
				Name: aws.String("tf-cp"), AutoScalingGroupProvider: &ecstypes.AutoScalingGroupProviderUpdate{
					ManagedScaling: &ecstypes.ManagedScaling{Status: ecstypes.ManagedScalingStatusDisabled,
						TargetCapacity: aws.Int32(90)}}})
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
			if _, err := tf.ecs.DeleteCapacityProvider(tf.T.Context(),
				&ecs.DeleteCapacityProviderInput{CapacityProvider: &id}); err != nil {
				return err
			}
			return tf.poll("the capacity provider is deleted", func() (bool, error) {
				_, err := tf.describeProvider(id)
				return errors.Is(err, errDeleted), nil
			})
		},
	}
}

// describeCluster returns a cluster with the details that the provider includes.
func (tf *ecsTerraform) describeCluster(arn string) (*ecstypes.Cluster, error) {
	out, err := tf.ecs.DescribeClusters(tf.T.Context(),
		&ecs.DescribeClustersInput{Clusters: []string{arn}, Include: []ecstypes.ClusterField{
			ecstypes.ClusterFieldTags, ecstypes.ClusterFieldConfigurations, ecstypes.ClusterFieldSettings}})
	switch {
	case err != nil:
		return nil, err
	case len(out.Clusters) == 0 || *out.Clusters[0].Status == "INACTIVE":
		return nil, errDeleted
	}
	return &out.Clusters[0], nil
}

// cluster returns aws_ecs_cluster.
func (tf *ecsTerraform) cluster() resource {
	const form = "name=tf logging=NONE settings=containerInsights=%s tags=%s"
	settings := func(value string) []ecstypes.ClusterSetting {
		return []ecstypes.ClusterSetting{{Name: ecstypes.ClusterSettingNameContainerInsights, Value: &value}}
	}
	return resource{
		name: "cluster", notFound: "deleted", want: fmt.Sprintf(form, "disabled", "stage=test"),
		changed: fmt.Sprintf(form, "enabled", "team=a"),
		create: func() (string, error) {
			out, err := tf.ecs.CreateCluster(tf.T.Context(), &ecs.CreateClusterInput{
				ClusterName: aws.String("tf"), Tags: ecsTags("stage=test"), Settings: settings("disabled"),
				Configuration: &ecstypes.ClusterConfiguration{
					ExecuteCommandConfiguration: &ecstypes.ExecuteCommandConfiguration{
						Logging: ecstypes.ExecuteCommandLoggingNone}},
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
			return fmt.Sprintf("name=%s logging=%s settings=%s=%s tags=%s", *c.ClusterName,
				c.Configuration.ExecuteCommandConfiguration.Logging,
				c.Settings[0].Name, *c.Settings[0].Value, ecsTagText(c.Tags)), nil
		},
		update: func(id string) error {
			if _, err := tf.ecs.UpdateCluster(tf.T.Context(),
				&ecs.UpdateClusterInput{Cluster: &id, Settings: settings("enabled")}); err != nil {
				return err
			}
			return tf.retagECS(id)
		},
		destroy: func(id string) error { // the tasks of a deleted service may still drain
			if err := tf.poll("the cluster can be deleted", func() (bool, error) {
				_, err := tf.ecs.DeleteCluster(tf.T.Context(), &ecs.DeleteClusterInput{Cluster: &id})
				switch harness.ErrorCode(err) {
				case "ClusterContainsContainerInstancesException", "ClusterContainsServicesException",
					"ClusterContainsTasksException", "UpdateInProgressException":
					return false, nil
				}
				return err == nil, err
			}); err != nil {
				return err
			}
			return tf.poll("the cluster is deleted", func() (bool, error) {
				_, err := tf.describeCluster(id)
				return errors.Is(err, errDeleted), nil
			})
		},
	}
}

// clusterProviders returns aws_ecs_cluster_capacity_providers.
func (tf *ecsTerraform) clusterProviders() resource {
	item := func(name string, weight, base int32) ecstypes.CapacityProviderStrategyItem {
		return ecstypes.CapacityProviderStrategyItem{CapacityProvider: &name, Weight: weight, Base: base}
	}
	put := func(providers []string, items ...ecstypes.CapacityProviderStrategyItem) error {
		if items == nil {
			items = []ecstypes.CapacityProviderStrategyItem{}
		}
		// tasks of a provider may still drain
		if err := tf.poll("the capacity providers can be set", func() (bool, error) {
			_, err := tf.ecs.PutClusterCapacityProviders(tf.T.Context(), &ecs.PutClusterCapacityProvidersInput{
				Cluster: aws.String("tf"), CapacityProviders: providers, DefaultCapacityProviderStrategy: items})
			switch harness.ErrorCode(err) {
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
			slices.Sort(c.CapacityProviders) // the provider compares sets
			return fmt.Sprintf("cluster=%s providers=%v strategy=%s", *c.ClusterName, c.CapacityProviders,
				strategyText(c.DefaultCapacityProviderStrategy)), nil
		},
	}
}

// strategyText returns a capacity provider strategy as text.
func strategyText(items []ecstypes.CapacityProviderStrategyItem) (text string) {
	for _, i := range items {
		text += fmt.Sprintf(" %s:%d+%d", *i.CapacityProvider, i.Weight, i.Base)
	}
	return text
}
