package route53

// refuseZoneChange is the answer to what would change a zone, in AWS's words: the zone is its namespace's.
func (a *API) refuseZoneChange(r request) (any, error) {
	ns, err := r.zone(a.db.Snapshot(), r.path[0])
	if err != nil {
		return nil, err
	}
	return nil, accessDenied("The resource hostedzone/%s can only be managed through AWS Cloud Map (%s)", ns.ZoneID, namespaceARN(ns))
}

func (a *API) refuseCreateHostedZone(request) (any, error) {
	return nil, accessDenied("Hosted zones can only be created through AWS Cloud Map here: create a private or public DNS namespace")
}

func (a *API) refuseHealthCheck(request) (any, error) {
	return nil, accessDenied("Health checks can only be managed through AWS Cloud Map here: give its service a health check")
}

// refuseTags holds also for zones: AWS's tags of a zone are other ones than those of its namespace, and nothing
// would keep them.
func (a *API) refuseTags(r request) (any, error) {
	if _, err := r.tags(a.db.Snapshot(), r.path[0], r.path[1]); err != nil {
		return nil, err
	}
	return nil, accessDenied("Hosted zones can only be tagged through AWS Cloud Map here: tag the namespace")
}
