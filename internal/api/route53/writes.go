package route53

// rejectZoneChange responds to operations that would change a zone, in AWS's words: the zone belongs to its namespace.
func (a *API) rejectZoneChange(r request) (any, error) {
	ns, err := r.zone(a.db.Snapshot(), r.path[0])
	if err != nil {
		return nil, err
	}
	return nil, accessDenied("The resource hostedzone/%s can only be managed through AWS Cloud Map (%s)", ns.ZoneID,
		namespaceARN(ns))
}

func (a *API) rejectCreateHostedZone(request) (any, error) {
	return nil, accessDenied(
		"Hosted zones can only be created through AWS Cloud Map on this server; " +
			"create a private or public DNS namespace")
}

func (a *API) rejectHealthCheck(request) (any, error) {
	return nil, accessDenied(
		"Health checks can only be managed through AWS Cloud Map on this server; " +
			"configure the health check of a service")
}

// rejectTags also responds for existing zones: at AWS, the tags of a zone are different from those of its namespace,
// and this server does not store them.
func (a *API) rejectTags(r request) (any, error) {
	if _, err := r.tags(a.db.Snapshot(), r.path[0], r.path[1]); err != nil {
		return nil, err
	}
	return nil, accessDenied("Hosted zones can only be tagged through AWS Cloud Map on this server; tag the namespace")
}
