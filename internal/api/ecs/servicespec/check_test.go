package servicespec

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/task"
)

// decode decodes JSON in the form that clients send.
func decode[I any](t *testing.T, body string) *I {
	t.Helper()
	in := new(I)
	if err := codec.Naming.Decode([]byte(body), in); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return in
}

// comma returns members with a comma before them.
func comma(members string) string {
	if members == "" {
		return ""
	}
	return "," + members
}

// TestCheck checks services that have the members s, a name, a task definition and the desired count 1.
func TestCheck(t *testing.T) {
	for _, tc := range []struct{ name, s, want string }{
		{"required members only", ``, ``},
		{"name", `"serviceName":"a/b"`,
			`InvalidParameter: Invalid service name "a/b": up to 255 letters, digits, hyphens and underscores are ` +
				`allowed`},
		{"no definition", `"taskDefinition":""`, `InvalidParameter: TaskDefinition can not be blank.`},
		{"token", `"clientToken":"0123456789012345678901234567890123456"`,
			`InvalidParameter: idempotency token longer than 36.`},
		{"no count", `"desiredCount":null`, `InvalidParameter: DesiredCount is missing`},
		{"count below zero", `"desiredCount":-1`, `InvalidParameter: DesiredCount can not be lesser than 0`},
		{"count zero", `"desiredCount":0`, ``},
		{"launch type", `"launchType":"LAMBDA"`,
			`InvalidParameter: launch type should be one of [EC2,FARGATE,EXTERNAL,MANAGED_INSTANCES]`},
		{"managed instances", `"launchType":"MANAGED_INSTANCES"`,
			`UnsupportedFeature: Managed instances are not supported by this server; use the launch type EC2, ` +
				`FARGATE or EXTERNAL.`},
		{"launch type and strategy", `"launchType":"FARGATE",` +
			`"capacityProviderStrategy":[{"capacityProvider":"FARGATE"}]`,
			`InvalidParameter: Specifying both a launch type and capacity provider strategy is not supported. ` +
				`Remove one and try again.`},
		{"strategy", `"capacityProviderStrategy":[{"capacityProvider":"FARGATE"}]`, ``},
		{"platform of a strategy", `"capacityProviderStrategy":[{"capacityProvider":"FARGATE"}],` +
			`"platformVersion":"1.4.0"`,
			``},
		{"platform of a strategy on EC2", `"capacityProviderStrategy":[{"capacityProvider":"own"}],` +
			`"platformVersion":"1.4.0"`,
			`InvalidParameter: The platform version must be null when specifying an EC2 launch type`},
		{"platform of EC2", `"platformVersion":"LATEST"`,
			`InvalidParameter: The platform version must be null when specifying an EC2 launch type`},
		{"platform of Fargate", `"launchType":"FARGATE","platformVersion":"1.4.0"`, ``},
		{"unknown platform", `"launchType":"FARGATE","platformVersion":"9"`,
			`PlatformUnknown: The specified platform version does not exist: 9`},
		{"daemon", `"schedulingStrategy":"DAEMON","desiredCount":null`, ``},
		{"daemon with a count", `"schedulingStrategy":"DAEMON","desiredCount":0`,
			`InvalidParameter: The daemon scheduling strategy does not support a desired count for services. ` +
				`Remove the desired count value and try again`},
		{"daemon of Fargate", `"schedulingStrategy":"DAEMON","desiredCount":null,"launchType":"FARGATE"`,
			`InvalidParameter: The daemon scheduling strategy does not support the FARGATE launch type. Change the ` +
				`launch type and try again`},
		{"daemon with a surplus",
			`"schedulingStrategy":"DAEMON","desiredCount":null,"deploymentConfiguration":{"maximumPercent":200}`,
			`InvalidParameter: The daemon scheduling strategy does not support values above 100 for maximumPercent`},
		{"daemon that cannot be replaced",
			`"schedulingStrategy":"DAEMON","desiredCount":null,"deploymentConfiguration":{"minimumHealthyPercent":100}`,
			`InvalidParameter: Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block ` +
				`deployments`},
		{"daemon with a strategy",
			`"schedulingStrategy":"DAEMON","desiredCount":null,"placementStrategy":[{"type":"random"}]`,
			`InvalidParameter: The daemon scheduling strategy does not support placement strategies`},
		{"breaker",
			`"deploymentConfiguration":{"deploymentCircuitBreaker":{"enable":true,"rollback":true,` +
				`"resetOnHealthyTask":false,"thresholdConfiguration":{"type":"COUNT","value":5}}}`, ``},
		{"breaker with an unknown threshold",
			`"deploymentConfiguration":{"deploymentCircuitBreaker":{"enable":true,"rollback":true,` +
				`"thresholdConfiguration":{"type":"MANY","value":5}}}`, `InvalidParameter: threshold type should ` +
				`be one of [COUNT,BOUNDED_PERCENT,UNBOUNDED_PERCENT]`},
		{"breaker with the threshold 0",
			`"deploymentConfiguration":{"deploymentCircuitBreaker":{"enable":true,"rollback":true,` +
				`"thresholdConfiguration":{"type":"COUNT","value":0}}}`, `InvalidParameter: The value 0 of the ` +
				`deployment circuit breaker's threshold is out of range: it must be at least 1, and at most 100 ` +
				`for a percentage`},
		{"controller", `"deploymentController":{"type":"CODE_DEPLOY"}`,
			`UnsupportedFeature: The deployment controller CODE_DEPLOY is not supported by this server; use ECS.`},
		{"blue/green", `"deploymentConfiguration":{"strategy":"BLUE_GREEN"}`,
			`UnsupportedFeature: The deployment strategy BLUE_GREEN is not supported by this server; use ROLLING.`},
		{"hooks", `"deploymentConfiguration":{"lifecycleHooks":[{"roleArn":"r"}]}`,
			`UnsupportedFeature: Deployment lifecycle hooks are not supported by this server.`},
		{"percents", `"deploymentConfiguration":{"minimumHealthyPercent":0,"maximumPercent":100}`, ``},
		{"minimum too high", `"deploymentConfiguration":{"minimumHealthyPercent":101}`,
			`InvalidParameter: minimumHealthyPercent must be at most 100`},
		{"maximum too low", `"deploymentConfiguration":{"maximumPercent":99}`,
			`InvalidParameter: maximumPercent must be at least 100`},
		{"no room for a deployment", `"deploymentConfiguration":{"maximumPercent":100}`,
			`InvalidParameter: Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block ` +
				`deployments`},
		{"grace period", `"healthCheckGracePeriodSeconds":-1`,
			`InvalidParameter: healthCheckGracePeriodSeconds can not be lesser than 0`},
		{"no subnets", `"networkConfiguration":{"awsvpcConfiguration":{"subnets":[]}}`,
			`InvalidParameter: subnets can not be empty.`},
		{"security groups",
			`"networkConfiguration":{"awsvpcConfiguration":{"subnets":["s"],"securityGroups":["1","2","3","4","5",` +
				`"6"]}}`,
			`InvalidParameter: security groups can have at most 5 items`},
		{"public address", `"networkConfiguration":{"awsvpcConfiguration":{"subnets":["s"],"assignPublicIp":"YES"}}`,
			`InvalidParameter: assignPublicIp should be one of [ENABLED,DISABLED]`},
		{"load balancer", `"loadBalancers":[{"targetGroupArn":"t"}]`,
			`UnsupportedFeature: Load balancers are not supported by this server; clients find tasks by service ` +
				`discovery (serviceRegistries).`},
		{"Service Connect", `"serviceConnectConfiguration":{"enabled":true}`,
			`UnsupportedFeature: Service Connect is not supported by this server; use service discovery ` +
				`(serviceRegistries).`},
		{"Service Connect off", `"serviceConnectConfiguration":{"enabled":false}`, ``},
		{"volumes", `"volumeConfigurations":[{"name":"v"}]`,
			`UnsupportedFeature: Volumes configured at launch are not supported by this server.`},
		{"lattice", `"vpcLatticeConfigurations":[{"portName":"p"}]`,
			`UnsupportedFeature: VPC Lattice is not supported by this server.`},
		{"role", `"role":"r"`,
			`InvalidParameter: You cannot specify an IAM role for services that require a service linked role`},
		{"constraint of distinct instances", `"placementConstraints":[{"type":"distinctInstance"}]`, ``},
		{"constraint with expression", `"placementConstraints":[{"type":"distinctInstance","expression":"x"}]`,
			`InvalidParameter: distinctInstance expression should not be specified.`},
		{"constraint without expression", `"placementConstraints":[{"type":"memberOf"}]`,
			`InvalidParameter: A memberOf constraint must have an expression of at most 2000 characters`},
		{"constraint",
			`"placementConstraints":[{"type":"memberOf","expression":"attribute:rack == a and not ` +
				`(runningTasksCount > 3)"}]`,
			``},
		{"constraint with an invalid expression", `"placementConstraints":[{"type":"memberOf","expression":"rack ` +
			`== a"}]`,
			`InvalidParameter: Invalid expression in placement constraint: unknown subject "rack": it should be ` +
				`attribute:NAME or one of [ec2InstanceId, agentConnected, agentVersion, registeredAt, ` +
				`runningTasksCount, task:group]`},
		{"strategy spread",
			`"placementStrategy":[{"type":"spread","field":"attribute:ecs.availability-zone"},{"type":"spread",` +
				`"field":"instanceId"}]`, ``},
		{"strategy without field", `"placementStrategy":[{"type":"spread"}]`,
			`InvalidParameter: The field of the spread placement strategy should be instanceId, host or ` +
				`attribute:NAME`},
		{"constraint type", `"placementConstraints":[{"type":"near"}]`,
			`InvalidParameter: placement constraint type should be one of [distinctInstance,memberOf]`},
		{"constraint on Fargate", `"launchType":"FARGATE","placementConstraints":[{"type":"distinctInstance"}]`,
			`InvalidParameter: Placement constraints are not supported with FARGATE launch type.`},
		{"strategies",
			`"placementStrategy":[{"type":"spread","field":"host"},{"type":"binpack","field":"cpu"},` +
				`{"type":"random"}]`, ``},
		{"strategy field", `"placementStrategy":[{"type":"binpack","field":"disk"}]`,
			`InvalidParameter: The field of the binpack placement strategy should be one of [cpu,memory]`},
		{"random field", `"placementStrategy":[{"type":"random","field":"host"}]`,
			`InvalidParameter: The random placement strategy does not take a field`},
		{"six strategies",
			`"placementStrategy":[{"type":"random"},{"type":"random"},{"type":"random"},{"type":"random"},` +
				`{"type":"random"},{"type":"random"}]`, `InvalidParameter: Maximum number of strategies is 5`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body := `"serviceName":"web"`
			for _, member := range []string{`"taskDefinition":"web"`, `"desiredCount":1`} {
				name, _, _ := strings.Cut(member, ":")
				if !strings.Contains(tc.s, name) {
					body += "," + member
				}
			}
			s := decode[Spec](t, "{"+body+comma(tc.s)+"}")
			FillDefaults(s)
			ChooseLaunchType(s, &task.Cluster{})
			if got := apitest.ErrorText(Check(s)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// TestCheckRegistry checks the members that a registry needs for each network mode and type of record. The task's
// container "app" maps port 80; {arn} is the registry's ARN.
func TestCheckRegistry(t *testing.T) {
	const (
		either = `Specify a value for either 'port' or the 'containerName' and 'containerPort' combination, but ` +
			`not both`
		pair     = `"containerName":"app","containerPort":80`
		needPair = `When specifying 'host' or 'bridge' for networkMode, values for 'containerName' and ` +
			`'containerPort' must be specified from the task definition. Registry: {arn}`
		needPort = `When specifying 'awsvpc' for networkMode and a registry with SRV records, specify either ` +
			`'port' or 'containerName' and 'containerPort'. Registry: {arn}`
		noPair = `The values specified for serviceRegistries do not require a value for 'containerPort'. Remove ` +
			`the value and retry. Registry: {arn}`
		noPort = `The values specified for serviceRegistries do not require a value for 'port'. Remove the value ` +
			`and retry. Registry: {arn}`
	)
	for _, tc := range []struct{ mode, records, g, want string }{
		{"awsvpc", "A", ``, ``},
		{"awsvpc", "A AAAA", ``, ``},
		{"awsvpc", "A", `"port":80`, noPort},
		{"awsvpc", "A", pair, noPair},
		{"awsvpc", "SRV", ``, needPort},
		{"awsvpc", "SRV", `"port":80`, ``},
		{"awsvpc", "SRV", pair, ``},
		{"awsvpc", "A SRV", pair, ``},
		{"awsvpc", "SRV", `"port":80,` + pair, either},
		{"awsvpc", "SRV", `"port":65536`,
			`Invalid port 65536 of a service registry: it must be between 0 and 65535. Registry: {arn}`},
		{"awsvpc", "", ``, ``},
		{"awsvpc", "", `"port":80`, ``},
		{"awsvpc", "", pair, ``},
		{"awsvpc", "CNAME", ``,
			`The service registry has CNAME records, which no task can be registered in. Registry: {arn}`},
		{"bridge", "SRV", ``, needPair},
		{"bridge", "SRV", `"port":80`, needPair},
		{"bridge", "SRV", pair, ``},
		{"host", "SRV", pair, ``},
		{"host", "A", ``, ``},
		{"bridge", "A", pair, ``},
		{"bridge", "A SRV", ``, needPair},
		{"bridge", "", ``, ``},
		{"bridge", "", `"port":80`, needPair},
		{"none", "A", ``, `Service discovery is not supported when networkMode 'none' is specified. Registry: {arn}`},
		{"bridge", "SRV", `"containerName":"db","containerPort":80`,
			`The container db does not exist in the task definition.`},
		{"bridge", "SRV", `"containerName":"app","containerPort":81`,
			`The container app did not have a container port 81 defined.`},
		{"bridge", "SRV", `"containerName":"app"`,
			`Specify both 'containerName' and 'containerPort', or none of them. Registry: {arn}`},
	} {
		t.Run(tc.mode+" "+tc.records+" "+tc.g, func(t *testing.T) {
			g := decode[types.ServiceRegistry](t, `{"registryArn":"{arn}"`+comma(tc.g)+"}")
			def := &task.Definition{NetworkMode: tc.mode, Containers: []task.ContainerDefinition{
				{Name: "app", Ports: []task.PortMapping{{ContainerPort: 80}}},
			}}
			svc := &registry.Service{}
			for _, r := range strings.Fields(tc.records) {
				svc.Records = append(svc.Records, registry.Record{Type: registry.RecordType(r)})
			}
			got := strings.TrimPrefix(apitest.ErrorText(checkRegistry(*g, def, svc)), "InvalidParameter: ")
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}
