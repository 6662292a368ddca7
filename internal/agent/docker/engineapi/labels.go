package engineapi

// Labels on what Rollcall creates in the engine. They identify objects of earlier versions, so they never change.
const (
	LabelOwner     = "com.bakingclouds.rollcall.owner"     // id of the data folder; see Owner
	LabelData      = "com.bakingclouds.rollcall.data"      // path of the data folder
	LabelTask      = "com.bakingclouds.rollcall.task"      // task id
	LabelContainer = "com.bakingclouds.rollcall.container" // name in the task definition; empty on pause containers
	LabelVPC       = "com.bakingclouds.rollcall.vpc"       // VPC id, on networks and containers
	LabelBinary    = "com.bakingclouds.rollcall.binary"    // SHA-256 of the binary that an image was made from
)
