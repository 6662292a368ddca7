package test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// fargate is a definition of one program that Fargate could run too.
func (tf *ecsTerraform) fargate(family string, command ...string) *ecs.RegisterTaskDefinitionInput {
	in := program(tf.T, family, command...)
	in.Cpu, in.Memory = aws.String("256"), aws.String("512")
	in.RequiresCompatibilities = []ecstypes.Compatibility{ecstypes.CompatibilityFargate}
	in.ContainerDefinitions[0].Memory = nil
	in.ContainerDefinitions[0].Environment = []ecstypes.KeyValuePair{{Name: aws.String("B"), Value: aws.String("2")}, {Name: aws.String("A"), Value: aws.String("1")}}
	return in
}

// taskDefinition is aws_ecs_task_definition. Another definition would be another resource; its tags change.
func (tf *ecsTerraform) taskDefinition() resource {
	const form = "family=tf-web revision=1 mode=awsvpc size=256/512 compatibilities=[FARGATE] " +
		"container={main none [sleep 1000] cpu=0 essential=true env=A=1,B=2 health=sh/30/5/3} tags=%s"
	return resource{
		name: "task_definition", notFound: "gone", want: fmt.Sprintf(form, "stage=test"), changed: fmt.Sprintf(form, "team=a"),
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
				return "", errGone
			}
			c := d.ContainerDefinitions[0]
			var env []string // a set
			for _, e := range c.Environment {
				env = append(env, *e.Name+"="+*e.Value)
			}
			slices.Sort(env)
			health := fmt.Sprintf("sh/%d/%d/%d", *c.HealthCheck.Interval, *c.HealthCheck.Timeout, *c.HealthCheck.Retries)
			return fmt.Sprintf("family=%s revision=%d mode=%s size=%s/%s compatibilities=%v container={%s %s %v cpu=%d essential=%v env=%s health=%s} tags=%s",
				*d.Family, d.Revision, d.NetworkMode, *d.Cpu, *d.Memory, d.RequiresCompatibilities, *c.Name, *c.Image, c.Command, c.Cpu, *c.Essential,
				strings.Join(env, ","), health, ecsTagText(out.Tags)), nil
		},
		update: tf.retagECS,
		destroy: func(id string) error {
			_, err := tf.ecs.DeregisterTaskDefinition(tf.T.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &id})
			return err
		},
	}
}

// describeService is a service with its tags; one that is being deleted or was is gone.
func (tf *ecsTerraform) describeService(arn string) (*ecstypes.Service, error) {
	out, err := tf.ecs.DescribeServices(tf.T.Context(), &ecs.DescribeServicesInput{
		Cluster: aws.String("tf"), Services: []string{arn}, Include: []ecstypes.ServiceField{ecstypes.ServiceFieldTags}})
	switch {
	case err != nil:
		return nil, err
	case len(out.Services) == 0:
		return nil, errGone
	}
	return &out.Services[0], nil
}

// steady is the provider's wait_for_steady_state after a change that began at a time: its deployment is the
// primary, the service deployment of the same number is successful; a change that starts none waits for counts.
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
			out, err := tf.ecs.DescribeServiceDeployments(tf.T.Context(), &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{*brief.ServiceDeploymentArn}})
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

// ecsService is aws_ecs_service in a cluster with a default strategy.
func (tf *ecsTerraform) ecsService(ids map[string]string) resource {
	const form = "name=web cluster=true count=%d launch= strategy= FARGATE:1+1 platform=LATEST scheduling=REPLICA controller=ECS propagate=%s managed=%v exec=false grace=0 " +
		"definition=%s percents=%d/200 breaker=false/false strategy=ROLLING/0 network=[sn-a sn-b] [sg-1] DISABLED registry=true/0 placement=0/0 balancers=0 rebalancing=%s role=true tags=%s"
	return resource{
		name: "service", notFound: "gone",
		want:    fmt.Sprintf(form, 2, "SERVICE", true, "tf-web:1", 100, "ENABLED", "stage=test"),
		changed: fmt.Sprintf(form, 1, "SERVICE", true, "tf-web:2", 50, "DISABLED", "team=a"),
		create: func() (string, error) {
			began := time.Now().Add(-time.Second)
			out, err := tf.ecs.CreateService(tf.T.Context(), &ecs.CreateServiceInput{
				Cluster: aws.String(ids["cluster"]), ServiceName: aws.String("web"), TaskDefinition: aws.String(ids["task_definition"]), DesiredCount: aws.Int32(2),
				ClientToken: aws.String("terraform-20260101000000000000001"), SchedulingStrategy: ecstypes.SchedulingStrategyReplica,
				EnableECSManagedTags: true, PropagateTags: ecstypes.PropagateTagsService, Tags: ecsTags("stage=test"),
				DeploymentConfiguration: &ecstypes.DeploymentConfiguration{MinimumHealthyPercent: aws.Int32(100), MaximumPercent: aws.Int32(200)},
				DeploymentController:    &ecstypes.DeploymentController{Type: ecstypes.DeploymentControllerTypeEcs},
				NetworkConfiguration: &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{
					Subnets: []string{"sn-b", "sn-a"}, SecurityGroups: []string{"sg-1"}, AssignPublicIp: ecstypes.AssignPublicIpDisabled}},
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
		},
		read: func(id string) (string, error) {
			svc, err := tf.describeService(id)
			if err != nil {
				return "", err
			}
			if *svc.Status == "INACTIVE" || *svc.Status == "DRAINING" {
				return "", errGone
			}
			d, n, r := svc.DeploymentConfiguration, svc.NetworkConfiguration.AwsvpcConfiguration, svc.ServiceRegistries[0]
			slices.Sort(n.Subnets) // a set
			_, definition, _ := strings.Cut(*svc.TaskDefinition, "task-definition/")
			return fmt.Sprintf("name=%s cluster=%v count=%d launch=%s strategy=%s platform=%s scheduling=%s controller=%s propagate=%s managed=%v exec=%v grace=%d "+
				"definition=%s percents=%d/%d breaker=%v/%v strategy=%s/%d network=%v %v %s registry=%v/%d placement=%d/%d balancers=%d rebalancing=%s role=%v tags=%s",
				*svc.ServiceName, *svc.ClusterArn == ids["cluster"], svc.DesiredCount, svc.LaunchType, strategyText(svc.CapacityProviderStrategy),
				aws.ToString(svc.PlatformVersion), svc.SchedulingStrategy, svc.DeploymentController.Type, svc.PropagateTags, svc.EnableECSManagedTags,
				svc.EnableExecuteCommand, aws.ToInt32(svc.HealthCheckGracePeriodSeconds), definition, *d.MinimumHealthyPercent, *d.MaximumPercent,
				d.DeploymentCircuitBreaker.Enable, d.DeploymentCircuitBreaker.Rollback, d.Strategy, *d.BakeTimeInMinutes, n.Subnets, n.SecurityGroups, n.AssignPublicIp,
				*r.RegistryArn == ids["registry"], aws.ToInt32(r.Port), len(svc.PlacementConstraints), len(svc.PlacementStrategy), len(svc.LoadBalancers),
				svc.AvailabilityZoneRebalancing, strings.HasSuffix(aws.ToString(svc.RoleArn), "AWSServiceRoleForECS"), ecsTagText(svc.Tags)), nil
		},
		update: func(id string) error {
			next, err := tf.ecs.RegisterTaskDefinition(tf.T.Context(), tf.fargate("tf-web", "sleep", "1001"))
			if err != nil {
				return err
			}
			began := time.Now().Add(-time.Second)
			if _, err = tf.ecs.UpdateService(tf.T.Context(), &ecs.UpdateServiceInput{
				Cluster: aws.String(ids["cluster"]), Service: &id, TaskDefinition: next.TaskDefinition.TaskDefinitionArn,
				AvailabilityZoneRebalancing: ecstypes.AvailabilityZoneRebalancingDisabled, // it is always sent
				DeploymentConfiguration:     &ecstypes.DeploymentConfiguration{MinimumHealthyPercent: aws.Int32(50), MaximumPercent: aws.Int32(200)},
			}); err != nil {
				return err
			}
			if err := tf.steady(id, began, true); err != nil {
				return err
			}
			if _, err = tf.ecs.UpdateService(tf.T.Context(), &ecs.UpdateServiceInput{
				Cluster: aws.String(ids["cluster"]), Service: &id, DesiredCount: aws.Int32(1), AvailabilityZoneRebalancing: ecstypes.AvailabilityZoneRebalancingDisabled,
			}); err != nil {
				return err
			}
			if err := tf.steady(id, began, false); err != nil {
				return err
			}
			return tf.retagECS(id)
		},
		destroy: func(id string) error {
			if _, err := tf.ecs.UpdateService(tf.T.Context(), &ecs.UpdateServiceInput{Cluster: aws.String(ids["cluster"]), Service: &id, DesiredCount: aws.Int32(0)}); err != nil {
				return err
			}
			if _, err := tf.ecs.DeleteService(tf.T.Context(), &ecs.DeleteServiceInput{Cluster: aws.String(ids["cluster"]), Service: &id}); err != nil {
				return err
			}
			return tf.poll("the service is inactive", func() (bool, error) {
				svc, err := tf.describeService(id)
				return err == nil && *svc.Status == "INACTIVE", err
			})
		},
	}
}

// tag is aws_ecs_tag: one tag of a resource that is managed elsewhere, here the default cluster.
func (tf *ecsTerraform) tag(ids map[string]string) resource {
	put := func(arn, value string) error {
		_, err := tf.ecs.TagResource(tf.T.Context(), &ecs.TagResourceInput{ResourceArn: &arn, Tags: ecsTags("owner=" + value)})
		return err
	}
	return resource{
		name: "tag", notFound: "gone", want: "owner=a", changed: "owner=b",
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
			return "", errGone
		},
		destroy: func(id string) error {
			_, err := tf.ecs.UntagResource(tf.T.Context(), &ecs.UntagResourceInput{ResourceArn: &id, TagKeys: []string{"owner"}})
			return err
		},
	}
}

// execution is the data source aws_ecs_task_execution, which runs a task, and what the tasks of the service
// have of its tags.
func (tf *ecsTerraform) execution(ids map[string]string) {
	tf.T.Helper()
	ctx := tf.T.Context()
	out := must[*ecs.RunTaskOutput](tf.T)(tf.ecs.RunTask(ctx, &ecs.RunTaskInput{
		Cluster: aws.String(ids["cluster"]), TaskDefinition: aws.String("tf-web"), NetworkConfiguration: awsvpc(), Tags: ecsTags("job=once"),
		Overrides: &ecstypes.TaskOverride{ContainerOverrides: []ecstypes.ContainerOverride{{Name: aws.String("main"), Command: []string{"true"}}}},
	}))
	if len(out.Tasks) != 1 || aws.ToString(out.Tasks[0].CapacityProviderName) != "FARGATE" || ecsTagText(out.Tasks[0].Tags) != "job=once" {
		tf.T.Errorf("the task of the data source: %s", asJSON(out))
	}
	list := must[*ecs.ListTasksOutput](tf.T)(tf.ecs.ListTasks(ctx, &ecs.ListTasksInput{Cluster: aws.String("tf"), ServiceName: aws.String("web")}))
	tasks := must[*ecs.DescribeTasksOutput](tf.T)(tf.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{
		Cluster: aws.String("tf"), Tasks: list.TaskArns, Include: []ecstypes.TaskField{ecstypes.TaskFieldTags}})).Tasks
	for _, task := range tasks {
		if got := ecsTagText(task.Tags); got != "aws:ecs:clusterName=tf,aws:ecs:serviceName=web,stage=test" {
			tf.T.Errorf("a task of the service has the tags %s", got)
		}
	}
	if len(tasks) != 1 {
		tf.T.Errorf("the service has %d tasks", len(tasks))
	}
}
