package taskdef

import (
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
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

// errorText returns an error as "Code: message", or an empty string for nil. A ClientException is only its message,
// because most rules return one.
func errorText(err error) string { return strings.TrimPrefix(apitest.ErrorText(err), "Client: ") }

// TestCheck checks definitions of one container. c has members of the container "app", and task those of the
// definition, whose memory is 512 by default.
func TestCheck(t *testing.T) {
	const fargate = `"networkMode":"awsvpc","cpu":"256","requiresCompatibilities":["FARGATE"]`
	for _, tc := range []struct{ name, c, task, want string }{
		{"required members only", ``, ``, ``},
		{"empty image", `"image":""`, ``, `Container.image should not be null or empty.`},
		{"empty name", `"name":""`, ``, `Container.name should not be null or empty.`},
		{"family", ``, `"family":"a b"`, `Family contains invalid characters.`},
		{"no containers", ``, `"containerDefinitions":[]`, `Container list cannot be empty.`},
		{"inference accelerators", ``, `"inferenceAccelerators":[{"deviceName":"d","deviceType":"t"}]`,
			`Unsupported field 'inferenceAccelerators'`},
		{"network mode", ``, `"networkMode":"overlay"`,
			`InvalidParameter: networkMode should be one of [bridge,host,awsvpc,none]`},
		{"not essential", `"essential":false`, ``, `Task definition doesn't have any essential container.`},
		{"same name twice", ``, `"containerDefinitions":[{"name":"a","image":"i"},{"name":"a","image":"i"}]`,
			`Container names must be unique within a task definition`},

		{"no memory", ``, `"memory":null`,
			`Invalid setting for container 'app'. At least one of 'memory' or 'memoryReservation' must be specified.`},
		{"reservation alone", `"memoryReservation":64`, `"memory":null`, ``},
		{"reservation above memory", `"memory":64,"memoryReservation":65`, ``,
			`Invalid setting for container 'app'. 'memory' must be greater than or equal to 'memoryReservation'.`},
		{"memory above the task's", `"memory":513`, ``,
			`The 'memory' setting for container 'app' is greater than for the task`},
		{"cpu text", ``, `"cpu":"many"`, `InvalidParameter: Invalid 'cpu' setting for task.`},
		{"cpu too small", ``, `"cpu":"64"`, `InvalidParameter: Invalid 'cpu' setting for task.`},
		{"memory text", ``, `"memory":"1 TB"`, `InvalidParameter: Invalid 'memory' setting for task.`},
		{"ulimit", `"ulimits":[{"name":"nofile","softLimit":2,"hardLimit":1}]`, ``,
			`Soft limit exceeds hard limit for ulimit nofile`},

		{"awsvpc ports differ", `"portMappings":[{"containerPort":80,"hostPort":81}]`, `"networkMode":"awsvpc"`,
			`When networkMode=awsvpc, the host ports and container ports in port mappings must match.`},
		{"host ports differ", `"portMappings":[{"containerPort":80,"hostPort":81}]`, `"networkMode":"host"`,
			`When networkMode=host, the host ports and container ports in port mappings must match.`},
		{"bridge ports differ", `"portMappings":[{"containerPort":80,"hostPort":81}]`, ``, ``},
		{"ports without a network", `"portMappings":[{"containerPort":80}]`, `"networkMode":"none"`,
			`Port mappings are not supported when networkMode=none`},
		{"links in awsvpc", `"links":["db"]`, `"networkMode":"awsvpc"`, `Links are not supported when ` +
			`networkMode=awsvpc`},
		{"hostname", `"hostname":"h"`, `"networkMode":"awsvpc"`,
			`hostname is not supported on container when networkMode=awsvpc`},
		{"extra hosts", `"extraHosts":[{"hostname":"h","ipAddress":"10.0.0.1"}]`, `"networkMode":"awsvpc"`,
			`Extra hosts are not supported on container when networkMode=awsvpc`},
		{"dns servers", `"dnsServers":["10.0.0.2"]`, `"networkMode":"awsvpc"`,
			`DNS servers are not supported on container when networkMode=awsvpc`},
		{"port and range", `"portMappings":[{"containerPort":80,"containerPortRange":"80-81"}]`, ``,
			`cannot specify both single port and port range`},
		{"range in reverse", `"portMappings":[{"containerPortRange":"81-80"}]`, ``, `Invalid 'containerPortRange' ` +
			`setting`},
		{"range beyond 65535", `"portMappings":[{"containerPortRange":"1-65536"}]`, ``,
			`Invalid 'containerPortRange' setting`},
		{"port zero", `"portMappings":[{"containerPort":0}]`, ``,
			`Invalid 'containerPort' setting: 0 is not between 1 and 65535`},
		{"port twice", `"portMappings":[{"containerPort":80},{"containerPort":80}]`, ``,
			`container port is used multiple times in task`},
		{"port twice, other protocol", `"portMappings":[{"containerPort":53},{"containerPort":53,` +
			`"protocol":"udp"}]`, ``, ``},
		{"range over port", `"portMappings":[{"containerPort":80},{"containerPortRange":"79-81"}]`, ``,
			`container port is used multiple times in task`},
		{"port name twice", `"portMappings":[{"containerPort":80,"name":"http"},{"containerPort":81,` +
			`"name":"http"}]`, ``,
			`port mapping name is already used`},
		{"port name", `"portMappings":[{"containerPort":80,"name":"-http"}]`, ``,
			`Invalid port mapping name "-http": up to 64 lower-case letters, digits, hyphens and underscores, not ` +
				`beginning with a hyphen`},
		{"same port of two containers, bridge", ``,
			`"containerDefinitions":[{"name":"a","image":"i","portMappings":[{"containerPort":80}]},{"name":"b",` +
				`"image":"i","portMappings":[{"containerPort":80}]}]`, ``},
		{"same port of two containers, awsvpc", ``,
			`"networkMode":"awsvpc","containerDefinitions":[{"name":"a","image":"i",` +
				`"portMappings":[{"containerPort":80}]},{"name":"b","image":"i",` +
				`"portMappings":[{"containerPort":80}]}]`, `container port is used multiple times in task`},

		{"unknown volume", `"mountPoints":[{"sourceVolume":"data","containerPath":"/data"}]`, ``, `Unknown volume ` +
			`'data'.`},
		{"volume", `"mountPoints":[{"sourceVolume":"data","containerPath":"/data"}]`, `"volumes":[{` +
			`"name":"data"}]`, ``},
		{"volume of EFS", ``, `"volumes":[{"name":"data","efsVolumeConfiguration":{"fileSystemId":"fs-1"}}]`, ``},
		{"volumes from an unknown container", `"volumesFrom":[{"sourceContainer":"db"}]`, ``,
			`Invalid 'volumesFrom' setting. Unknown container: 'db'`},

		{"depends on an unknown container", `"dependsOn":[{"containerName":"db","condition":"START"}]`, ``,
			`Cannot depend on container + 'db' because it does not exist`},
		{"depends on itself", `"dependsOn":[{"containerName":"app","condition":"START"}]`, ``,
			`Container dependsOn contains a cycle`},
		{"cycle", ``,
			`"containerDefinitions":[{"name":"a","image":"i","dependsOn":[{"containerName":"b",` +
				`"condition":"START"}]},{"name":"b","image":"i","dependsOn":[{"containerName":"a",` +
				`"condition":"START"}]}]`, `Container dependsOn contains a cycle`},
		{"waits for the end of an essential container", ``,
			`"containerDefinitions":[{"name":"a","image":"i","dependsOn":[{"containerName":"b",` +
				`"condition":"SUCCESS"}]},{"name":"b","image":"i"}]`, `A dependency container with SUCCESS or ` +
				`COMPLETE condition cannot be an essential container`},
		{"waits for the end of a container", ``,
			`"containerDefinitions":[{"name":"a","image":"i","dependsOn":[{"containerName":"b",` +
				`"condition":"SUCCESS"}]},{"name":"b","image":"i","essential":false}]`, ``},
		{"waits for health without a check", ``,
			`"containerDefinitions":[{"name":"a","image":"i","dependsOn":[{"containerName":"b",` +
				`"condition":"HEALTHY"}]},{"name":"b","image":"i"}]`, `A dependency container with HEALTHY ` +
				`condition must have health check configured`},
		{"condition", `"dependsOn":[{"containerName":"app","condition":"SOON"}]`, ``,
			`InvalidParameter: condition should be one of [START,COMPLETE,SUCCESS,HEALTHY]`},

		{"health command", `"healthCheck":{"command":[]}`, ``,
			`Health check of container 'app': the command cannot be empty.`},
		{"health command without arguments", `"healthCheck":{"command":["CMD-SHELL"]}`, ``,
			`Health check of container 'app': the command cannot be empty.`},
		{"health disabled", `"healthCheck":{"command":["NONE"]}`, ``, ``},
		{"health interval", `"healthCheck":{"command":["CMD","true"],"interval":4}`, ``,
			`Health check of container 'app': 'interval' must be between 5 and 300.`},
		{"health retries", `"healthCheck":{"command":["CMD","true"],"retries":11}`, ``,
			`Health check of container 'app': 'retries' must be between 1 and 10.`},
		{"start timeout", `"startTimeout":1`, ``, `Granular start timeout on container 'app' must be at least 2 ` +
			`seconds.`},
		{"stop timeout", `"stopTimeout":1`, ``, `Granular stop timeout on container 'app' must be at least 2 seconds.`},
		{"restart period", `"restartPolicy":{"enabled":true,"restartAttemptPeriod":59}`, ``,
			`the 'restartAttemptPeriod' setting for container 'app' must be between 60 and 1800`},
		{"awslogs", `"logConfiguration":{"logDriver":"awslogs","options":{"awslogs-group":"g"}}`, ``,
			`Log driver awslogs requires options: awslogs-region, awslogs-group`},
		{"log driver", `"logConfiguration":{"logDriver":"none"}`, ``,
			`InvalidParameter: log driver should be one of ` +
				`[json-file,syslog,journald,gelf,fluentd,awslogs,splunk,awsfirelens]`},

		{"GPU", `"resourceRequirements":[{"type":"GPU","value":"1"}]`, ``,
			`Unsupported field 'resourceRequirements' of container 'app': this server has no GPUs for tasks`},
		{"log router", `"firelensConfiguration":{"type":"fluentbit"}`, ``,
			`Unsupported field 'firelensConfiguration' of container 'app': this server has no log router`},
		{"logs to a log router", `"logConfiguration":{"logDriver":"awsfirelens"}`, ``,
			`Unsupported value 'awsfirelens' of 'logDriver' of container 'app': this server has no log router`},
		{"credential specs", `"credentialSpecs":["credentialspecdomainless:arn"]`, ``,
			`Unsupported field 'credentialSpecs' of container 'app': this server has no Active Directory`},
		{"Windows", ``, `"runtimePlatform":{"operatingSystemFamily":"WINDOWS_SERVER_2022_CORE"}`,
			`Unsupported value 'WINDOWS_SERVER_2022_CORE' of 'operatingSystemFamily': this server runs tasks on Linux`},
		{"Linux", ``, `"runtimePlatform":{"operatingSystemFamily":"LINUX","cpuArchitecture":"ARM64"}`, ``},
		{"architecture", ``, `"runtimePlatform":{"cpuArchitecture":"RISCV"}`,
			`InvalidParameter: cpuArchitecture should be one of [X86_64,ARM64]`},

		{"long image",
			`"image":"` + strings.Repeat("i", 256) + `"`, ``,
			`Invalid setting for container 'app'. 'image' must be at most 255 characters.`},
		{"long image with a digest",
			`"image":"i@sha256:` + strings.Repeat("0", 256) + `"`, ``, ``},
		{"cpu below 0", `"cpu":-1`, ``, `Invalid setting for container 'app'. 'cpu' must be at least 0.`},
		{"registry login without a secret", `"repositoryCredentials":{}`, ``,
			`Invalid setting for container 'app'. 'repositoryCredentials' must have a 'credentialsParameter'.`},
		{"many exit codes",
			`"restartPolicy":{"enabled":true,"ignoredExitCodes":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,` +
				`20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,` +
				`50]}`, ``, `Invalid setting for container 'app'. 'ignoredExitCodes' must have at most 50 exit codes.`},
		{"log option without a secret",
			`"logConfiguration":{"logDriver":"splunk","secretOptions":[{"name":"splunk-token"}]}`, ``,
			`Invalid setting for container 'app'. A secret option must have a name and a valueFrom.`},
		{"ulimit name", `"ulimits":[{"name":"files","softLimit":1,"hardLimit":1}]`, ``,
			`InvalidParameter: ulimit name should be one of ` +
				`[core,cpu,data,fsize,locks,memlock,msgqueue,nice,nofile,nproc,rss,rtprio,rttime,sigpending,stack]`},
		{"mount without a path", `"mountPoints":[{"sourceVolume":"v"}]`, `"volumes":[{"name":"v"}]`,
			`Invalid setting for container 'app'. 'containerPath' of a mount point must be an absolute path ` +
				`without a colon.`},
		{"mount at a relative path", `"mountPoints":[{"sourceVolume":"v","containerPath":"data"}]`,
			`"volumes":[{"name":"v"}]`,
			`Invalid setting for container 'app'. 'containerPath' of a mount point must be an absolute path ` +
				`without a colon.`},
		{"mounts at the same path",
			`"mountPoints":[{"sourceVolume":"v","containerPath":"/a"},{"sourceVolume":"v","containerPath":"/a/"}]`,
			`"volumes":[{"name":"v"}]`, `Invalid setting for container 'app'. 'containerPath' /a is used by two ` +
				`mount points.`},
		{"volumes from itself", `"volumesFrom":[{"sourceContainer":"app"}]`, ``,
			`Container links, volumesFrom and dependsOn contain a cycle`},
		{"volumes from each other", ``,
			`"containerDefinitions":[{"name":"a","image":"i","volumesFrom":[{"sourceContainer":"b"}]},{"name":"b",` +
				`"image":"i","volumesFrom":[{"sourceContainer":"a"}]}]`, `Container links, volumesFrom and ` +
				`dependsOn contain a cycle`},
		{"volumes from a container that depends on it", ``,
			`"containerDefinitions":[{"name":"a","image":"i","volumesFrom":[{"sourceContainer":"b"}]},{"name":"b",` +
				`"image":"i","dependsOn":[{"containerName":"a","condition":"START"}]}]`, `Container links, ` +
				`volumesFrom and dependsOn contain a cycle`},
		{"link to an unknown container", `"links":["db:database"]`, ``, `Invalid 'links' setting. Unknown ` +
			`container: 'db'`},
		{"link to itself", `"links":["app"]`, ``, `Container links, volumesFrom and dependsOn contain a cycle`},
		{"link with two aliases", ``,
			`"containerDefinitions":[{"name":"a","image":"i","links":["b:x:y"]},{"name":"b","image":"i"}]`,
			`Invalid 'links' setting. "b:x:y" is neither CONTAINER nor CONTAINER:ALIAS`},
		{"link", ``, `"containerDefinitions":[{"name":"a","image":"i","links":["b:x"]},{"name":"b","image":"i"}]`, ``},
		{"two kinds of volume", ``, `"volumes":[{"name":"v","host":{"sourcePath":"/v"},` +
			`"dockerVolumeConfiguration":{}}]`,
			`Invalid setting for volume 'v'. Only one kind of volume can be specified.`},
		{"relative host path", ``, `"volumes":[{"name":"v","host":{"sourcePath":"v"}}]`,
			`Invalid setting for volume 'v'. 'sourcePath' must be an absolute path without a colon.`},
		{"volume scope", ``, `"volumes":[{"name":"v","dockerVolumeConfiguration":{"scope":"host"}}]`,
			`InvalidParameter: scope should be one of [task,shared]`},
		{"device", `"linuxParameters":{"devices":[{"hostPath":"fuse"}]}`, ``,
			`Invalid setting for container 'app'. 'hostPath' and 'containerPath' of a device must be absolute paths.`},
		{"device permission", `"linuxParameters":{"devices":[{"hostPath":"/dev/fuse","permissions":["execute"]}]}`, ``,
			`InvalidParameter: device permission should be one of [read,write,mknod]`},
		{"tmpfs path", `"linuxParameters":{"tmpfs":[{"containerPath":"tmp","size":1}]}`, ``,
			`Invalid setting for container 'app'. 'containerPath' of a tmpfs must be an absolute path.`},
		{"tmpfs size", `"linuxParameters":{"tmpfs":[{"containerPath":"/tmp","size":0}]}`, ``,
			`Invalid setting for container 'app'. 'size' of a tmpfs must be at least 1.`},
		{"shared memory", `"linuxParameters":{"sharedMemorySize":-1}`, ``,
			`Invalid setting for container 'app'. 'sharedMemorySize' must be at least 0.`},
		{"swap", `"linuxParameters":{"maxSwap":-1}`, ``,
			`Invalid setting for container 'app'. 'maxSwap' must be at least 0.`},
		{"swappiness", `"linuxParameters":{"maxSwap":1,"swappiness":101}`, ``,
			`Invalid setting for container 'app'. 'swappiness' must be between 0 and 100.`},
		{"swappiness without swap is ignored", `"linuxParameters":{"swappiness":100}`, ``, ``},
		{"dns server by name", `"dnsServers":["ns.example"]`, ``,
			`Invalid setting for container 'app'. 'dnsServers' must be IP addresses; "ns.example" is not.`},
		{"extra host without an address", `"extraHosts":[{"hostname":"db"}]`, ``,
			`Invalid setting for container 'app'. 'extraHosts' must have a hostname and an IP address.`},
		{"system control without a value", `"systemControls":[{"namespace":"net.core.somaxconn"}]`, ``,
			`Invalid setting for container 'app'. A system control must have a namespace and a value.`},
		{"system control of the machine's network", `"systemControls":[{"namespace":"net.core.somaxconn","value":"1"}]`,
			`"networkMode":"host"`,
			`Invalid setting for container 'app'. The system control net.core.somaxconn is not supported when ` +
				`networkMode=host.`},
		{"system control of the machine's ipc", `"systemControls":[{"namespace":"kernel.shmmax","value":"1"}]`,
			`"ipcMode":"host"`,
			`Invalid setting for container 'app'. The system control kernel.shmmax is not supported when ` +
				`ipcMode=host.`},
		{"range of many ports", `"portMappings":[{"containerPortRange":"1-60"},{"containerPortRange":"101-141"}]`, ``,
			`Invalid setting for container 'app'. 'containerPortRange': this server maps at most 100 ports of ` +
				`ranges when networkMode=bridge.`},
		{"range of many ports, awsvpc", `"portMappings":[{` +
			`"containerPortRange":"1-65535"}]`, `"networkMode":"awsvpc"`, ``},

		{"Fargate", ``, fargate, ``},
		{"Fargate without awsvpc", ``, `"cpu":"256","requiresCompatibilities":["FARGATE"]`,
			`Fargate only supports network mode ‘awsvpc’.`},
		{"Fargate without cpu", ``, `"networkMode":"awsvpc","requiresCompatibilities":["FARGATE"]`,
			`Fargate requires that 'cpu' be defined at the task level.`},
		{"constraint", ``, `"placementConstraints":[{"type":"memberOf","expression":"attribute:ecs.os-type == ` +
			`linux"}]`, ``},
		{"constraint type", ``, `"placementConstraints":[{"type":"distinctInstance"}]`,
			`InvalidParameter: placement constraint type should be one of [memberOf]`},
		{"constraint with an invalid expression", ``,
			`"placementConstraints":[{"type":"memberOf","expression":"attribute:a =="}]`,
			`Invalid expression in placement constraint: expected a value before "the end"`},
		{"Fargate without memory", `"memory":64`, fargate + `,"memory":null`,
			`Fargate requires that 'memory' be defined at the task level.`},
		{"Fargate size", ``, fargate + `,"memory":"4096"`,
			`No Fargate configuration exists for given values: 256 CPU, 4096 memory. See the Amazon ECS ` +
				`documentation for the valid values.`},
		{"Fargate size in words", ``, fargate + `,"cpu":"1 vCPU","memory":"2GB"`, ``},
		{"Fargate privileged", `"privileged":true`, fargate, `Fargate requires that the 'privileged' setting be ` +
			`'false'`},
		{"Fargate docker volume", ``, fargate + `,"volumes":[{"name":"v","dockerVolumeConfiguration":{}}]`,
			`Fargate compatible task definitions do not support dockerVolumeConfiguration`},
		{"Fargate host volume", ``, fargate + `,"volumes":[{"name":"v","host":{"sourcePath":"/v"}}]`,
			`Fargate compatible task definitions do not support sourcePath`},
		{"Fargate storage", ``, fargate + `,"ephemeralStorage":{"sizeInGiB":20}`,
			`EphemeralStorage size should be at least 21`},
		{"Fargate pid mode", ``, fargate + `,"pidMode":"host"`,
			`Tasks using the Fargate launch type do not support pidMode 'host'. The supported value for pidMode is ` +
				`'task'.`},
		{"Fargate capability", `"linuxParameters":{"capabilities":{"add":["NET_ADMIN"]}}`, fargate,
			`NET_ADMIN is not allowed on Fargate.`},
		{"Fargate log driver", `"logConfiguration":{"logDriver":"json-file"}`, fargate,
			`json-file is not a valid log driver. Must be one of [awslogs, splunk, awsfirelens]`},
		{"Fargate logs without a role",
			`"logConfiguration":{"logDriver":"awslogs","options":{"awslogs-group":"g","awslogs-region":"r"}}`, fargate,
			`Fargate requires task definition to have execution role ARN to support log driver awslogs.`},
		{"Fargate start timeout", `"startTimeout":121`, fargate,
			`Tasks using the Fargate launch type must have a container start timeout of less than 120 seconds.`},
		{"Fargate stop timeout", `"stopTimeout":121`, fargate,
			`Tasks using the Fargate launch type must have a container stop timeout of less than 120 seconds.`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if !strings.Contains(tc.task, `"memory"`) {
				tc.task = `"memory":"512"` + comma(tc.task)
			}
			in := decode[Request](t, `{"family":"web","containerDefinitions":[{"name":"app","image":"i"`+comma(
				tc.c)+`}],`+tc.task+`}`)
			if got := errorText(Check(in)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func comma(members string) string {
	if members == "" {
		return ""
	}
	return "," + members
}

// TestFargateSizes counts the combinations of cpu and memory in AWS's table.
func TestFargateSizes(t *testing.T) {
	pairs := 0
	for _, cpu := range []int{256, 512, 1024, 2048, 4096, 8192, 16384, 32768} {
		for memory := 512; memory <= 122880; memory += 512 {
			if isFargateSize(cpu, memory) {
				pairs++
			}
		}
	}
	// 3 + 4 + 7 + 13 + 23 + 12 + 12
	if pairs != 74 {
		t.Errorf("%d sizes, want 74", pairs)
	}
}
